import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import type { MirrorTop } from '../../../src/block/mirror-top.ts';
import { MiB } from '../../../src/util/limits.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

/** What a mirror leaves alone when it is cancelled, fails or is stopped by an error. */
const eio = () => {
  throw Object.assign(new Error('the disk is on fire'), { code: 'EIO' });
};

describe('of a copy that has many pieces', () => {
  /** One granule, which is copied in pieces of 1 MiB, at most 16 at a time. */
  async function oneGranule() {
    const size = 64 * MiB;
    const rig = new MirrorRig({ size });
    await rig.source.disk.write(0, Buffer.alloc(size, 7));
    const bitmap = new DirtyBitmap({ name: 'b0', size, granularity: size });
    rig.source.addBitmap(bitmap);
    bitmap.set(0, size);
    const writes = () => rig.target.log.filter((entry) => entry.startsWith('write')).length;
    return { rig, bitmap, writes };
  }

  it('none is begun after a forced cancel', async () => {
    const { rig, bitmap } = await oneGranule();
    const reads: (() => void)[] = [];
    rig.source.meddle = (verb) =>
      verb === 'read' ? new Promise<void>((resolve) => reads.push(resolve)) : undefined;
    const job = rig.mirror({ bitmap: 'b0' });
    await expect.poll(() => reads.length).toBe(16);
    job.cancel({ force: true });
    for (const go of reads) go();
    await job.ended;
    expect([reads.length, bitmap.count]).toEqual([16, bitmap.size]);
  });

  it.each(['report', 'stop'] as const)('none is begun after an error: %s', async (policy) => {
    const { rig, bitmap, writes } = await oneGranule();
    rig.target.meddle = (verb) => (verb === 'write' ? eio() : undefined);
    const job = rig.mirror({ bitmap: 'b0', onTargetError: policy });
    if (policy === 'report') await job.ended;
    else await rig.event('JOB_STATUS_CHANGE', ({ data }) => data.status === 'paused');
    expect(writes()).toBeLessThanOrEqual(16);
    expect(bitmap.count).toBe(bitmap.size);
    rig.target.meddle = () => {};
    if (policy === 'report') return;
    job.resume();
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('the good ones arrive beside one that fails for ever and is ignored', async () => {
    const { rig } = await oneGranule();
    rig.target.meddle = (verb, { offset }) =>
      verb === 'write' && offset < 16 * MiB ? eio() : undefined;
    rig.mirror({ bitmap: 'b0', onTargetError: 'ignore' });
    const last = Buffer.alloc(1);
    const look = async () => {
      await rig.target.disk.read(64 * MiB - 1, last);
      return last[0];
    };
    await expect.poll(look).toBe(7);
    await rig.jobs.cancelAll();
  });
});

it('a forced cancel asks a target that hangs nothing more of what is zero', async () => {
  const rig = new MirrorRig({ size: MiB });
  await rig.target.disk.write(0, pattern(MiB, 3));
  const job = rig.mirror();
  const top = rig.graph.find('mirror-top') as MirrorTop;
  let tell = () => {};
  rig.source.meddle = (verb) => {
    // The copy's question, not that of the beginning.
    if (verb !== 'status' || top.lock.held === 0) return;
    return new Promise<void>((resolve) => {
      tell = resolve;
    });
  };
  await expect.poll(() => top.lock.held).toBe(1);
  await new Promise(setImmediate);
  const asked: string[] = [];
  rig.target.meddle = (verb) => {
    asked.push(verb);
    return new Promise(() => {});
  };
  job.cancel({ force: true });
  tell();
  await job.ended;
  expect(asked).toEqual([]);
});

describe('a client’s write that hangs at the target of a mirror that has failed', () => {
  /** The mirror has failed, and another write has not been answered. */
  async function failed() {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0', copyMode: 'write-blocking' });
    await rig.ready();
    rig.target.meddle = (verb, { offset }) => {
      if (verb !== 'write') return;
      return offset === 0 ? new Promise(() => {}) : eio();
    };
    const hanging = Promise.resolve(rig.client.node.write(0, pattern(512, 1)));
    return {
      rig,
      bitmap,
      job,
      hanging,
      fail: () => rig.client.node.write(65_536, Buffer.from('x')),
    };
  }

  it('is answered, and dirty, in a moment', async () => {
    const { rig, bitmap, job, hanging, fail } = await failed();
    await fail();
    await Promise.all([hanging, job.ended]);
    expect([bitmap.isDirty(0), bitmap.busy, rig.target.cancelled]).toEqual([true, false, 1]);
  });

  it.each(['export', 'mirror'])('waits when the target is used by another: %s', async (other) => {
    const { rig, job, hanging, fail } = await failed();
    const third = new MemoryNode('third', { size: MiB });
    rig.graph.add(third);
    const more = { id: 'other', source: rig.target, target: third, filterNodeName: 'f' };
    const use =
      other === 'mirror'
        ? void rig.mirror(more)
        : rig.graph.use(rig.target, { kind: 'export', name: 'r' }, { writable: false });
    await fail();
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect([job.status, rig.target.cancelled]).toEqual(['aborting', 0]);
    // Nobody does any more, or the operator yanks.
    if (use !== undefined) use.release();
    else rig.target.cancelInFlight();
    await Promise.all([hanging, job.ended]);
    await rig.jobs.cancelAll();
  });
});

describe('a copy that hangs at the target of a mirror that has failed', () => {
  /** Two granules to copy; the copy of the first one hangs, that of the other fails. */
  async function failing() {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0', [
      [0, 512],
      [MiB / 2, 512],
    ]);
    await rig.source.disk.write(0, pattern(MiB, 1));
    rig.target.meddle = (verb, { offset }) => {
      if (verb !== 'write') return;
      return offset === 0 ? new Promise(() => {}) : eio();
    };
    return { rig, bitmap };
  }

  it('is given up in a moment, and dirty', async () => {
    const { rig, bitmap } = await failing();
    const job = rig.mirror({ bitmap: 'b0' });
    await job.ended;
    expect([job.error, bitmap.count, bitmap.busy]).toEqual(['Input/output error', 131_072, false]);
  });

  it.each(['fails', 'is cancelled'])('waits while others arrive, when it %s', async (end) => {
    const unit = 65_536;
    const rig = new MirrorRig({ size: 8 * unit });
    const parts = [0, 2, 4, 6].map((at): [number, number] => [at * unit, unit]);
    const bitmap = rig.bitmap('b0', parts);
    await rig.source.disk.write(0, pattern(8 * unit, 1));
    let writes = 0;
    rig.target.meddle = (verb, { offset }) => {
      if (verb !== 'write') return;
      writes++;
      if (offset === 0 && end === 'fails') return eio();
      return new Promise((resolve) => setTimeout(resolve, 400 * (offset / unit)));
    };
    const job = rig.mirror({ bitmap: 'b0' });
    await expect.poll(() => writes).toBe(4);
    if (end === 'is cancelled') job.cancel({ force: true });
    await job.ended;
    expect([rig.target.cancelled, bitmap.busy]).toEqual([0, false]);
  });

  it('is waited for while others use the target, unless the operator cancels', async () => {
    const { rig, bitmap } = await failing();
    rig.graph.use(rig.target, { kind: 'export', name: 'r' }, { writable: false });
    const job = rig.mirror({ bitmap: 'b0' });
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect([job.status, rig.target.cancelled]).toEqual(['running', 0]);
    job.cancel({ force: true });
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect([job.status, rig.target.cancelled]).toEqual(['running', 0]);
    // By now it is known that the others wait in vain.
    rig.target.lost = true;
    await job.ended;
    expect(bitmap.count).toBe(131_072);
  });
});

describe('a forced cancel', () => {
  it('leaves a target alone that answers, whoever else uses it', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.disk.write(0, pattern(MiB, 1));
    const job = rig.mirror();
    await rig.ready();
    job.cancel({ force: true });
    await job.ended;
    expect(rig.target.cancelled).toBe(0);
  });

  it('waits a moment for a target that hangs, and not at all for one that is lost', async () => {
    for (const [lost, atLeastMs, atMostMs] of [
      [false, 900, 20_000],
      [true, 0, 900],
    ] as const) {
      const rig = new MirrorRig({ size: MiB });
      await rig.source.disk.write(0, pattern(MiB, 1));
      rig.target.meddle = (verb) => (verb === 'write' ? new Promise(() => {}) : undefined);
      const job = rig.mirror();
      await expect.poll(() => rig.target.log.some((entry) => entry.startsWith('write'))).toBe(true);
      rig.target.lost = lost;
      const began = performance.now();
      job.cancel({ force: true });
      await job.ended;
      const tookMs = performance.now() - began;
      expect(tookMs).toBeGreaterThanOrEqual(atLeastMs);
      expect(tookMs).toBeLessThan(atMostMs);
    }
  });
});
