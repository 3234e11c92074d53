import { beforeEach, describe, expect, it } from 'vitest';
import { SharedFlush } from '../../../src/block/file-node-flush.ts';

describe('shared flush', () => {
  let syncs: { done(): void; fail(): void }[];
  let shared: SharedFlush;

  beforeEach(() => {
    syncs = [];
    shared = new SharedFlush(
      () =>
        new Promise((resolve, reject) => {
          syncs.push({ done: resolve, fail: () => reject(new Error('lost')) });
        }),
    );
  });

  const tick = () => new Promise((resolve) => setImmediate(resolve));

  it('starts at once', () => {
    void shared.flush();
    expect(syncs).toHaveLength(1);
  });

  it.each(['before', 'while', 'after'])(
    'hears of what a write is told %s it syncs',
    async (when) => {
      let fail = () => {};
      const write = new Promise<void>((_, reject) => {
        fail = () => reject(Object.assign(new Error('lost'), { code: 'EIO' }));
      });
      const written = shared.carry(write, (code) => code === 'EIO').catch(() => {});
      if (when === 'before') fail();
      await tick();
      const flushed = shared.flush().catch((error: Error) => error.message);
      if (when === 'while') fail();
      await tick();
      syncs[0]?.done();
      await tick();
      if (when === 'after') fail();
      await written;
      expect(await flushed).toBe('lost');
      await expect(shared.flush()).rejects.toThrow('lost');
    },
  );

  it('goes on after a write that failed for itself', async () => {
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' });
    const written = shared.carry(Promise.reject(full), (code) => code === 'EIO');
    await expect(written).rejects.toThrow('full');
    const flushed = shared.flush();
    syncs[0]!.done();
    await flushed;
  });

  it('gives those that come during a flush a new one, and one for all of them', async () => {
    const done: string[] = [];
    void shared.flush().then(() => done.push('first'));
    void shared.flush().then(() => done.push('second'));
    void shared.flush().then(() => done.push('third'));
    expect(syncs).toHaveLength(1);
    syncs[0]!.done();
    await tick();
    expect(done).toEqual(['first']);
    expect(syncs).toHaveLength(2);
    syncs[1]!.done();
    await tick();
    expect(done).toEqual(['first', 'second', 'third']);
    expect(syncs).toHaveLength(2);
  });

  it('flushes again for each that comes later', async () => {
    for (let index = 0; index < 3; index++) {
      const flushing = shared.flush();
      syncs[index]!.done();
      await flushing;
      await tick();
    }
    expect(syncs).toHaveLength(3);
  });

  it('fails for ever after one failure', async () => {
    const first = shared.flush();
    const second = shared.flush();
    syncs[0]!.fail();
    await expect(first).rejects.toThrow('lost');
    await expect(second).rejects.toThrow('lost');
    await expect(shared.flush()).rejects.toThrow('lost');
    expect(syncs).toHaveLength(1);
  });
});
