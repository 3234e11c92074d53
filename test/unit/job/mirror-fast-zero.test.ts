import { describe, expect, it } from 'vitest';
import { WRITE_FUA, ZERO_NO_FALLBACK } from '../../../src/block/node.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

const MiB = 1 << 20;

describe('a fast zero while the mode changes', () => {
  it('leaves dirty what a write from before has left', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror();
    await rig.ready();
    const go = new Map<string, () => void>();
    rig.source.meddle = (verb) =>
      verb === 'read' ? undefined : new Promise((resolve) => void go.set(verb, resolve));
    rig.source.actsFirst = () => false;
    const writing = rig.client.node.write(0, pattern(65_536, 1));
    job.changeCopyMode('write-blocking');
    // Zeroed at once, and answered behind the write, which lands on it.
    rig.source.actsFirst = () => true;
    const zeroing = rig.client.node.writeZeroes(0, 65_536, ZERO_NO_FALLBACK);
    await expect.poll(() => go.size).toBe(2);
    go.get('write')!();
    await writing;
    go.get('zero')!();
    await zeroing;
    rig.source.meddle = () => {};
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('does not keep a mirror from being synced when it is refused', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror();
    await rig.ready();
    let refuse = () => {};
    rig.source.meddle = () =>
      new Promise((_, reject) => {
        refuse = () => reject(Object.assign(new Error('not fast'), { code: 'ENOTSUP' }));
      });
    const zeroing = rig.client.node.writeZeroes(0, 65_536, ZERO_NO_FALLBACK);
    job.changeCopyMode('write-blocking');
    await new Promise(setImmediate);
    refuse();
    await expect(zeroing).rejects.toThrow('not fast');
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('nor when it waited for its range meanwhile', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking', onTargetError: 'stop' });
    await rig.ready();
    const gates: (() => void)[] = [];
    const gate = () => new Promise<void>((resolve) => void gates.push(resolve));
    rig.target.meddle = () => gate();
    const write = rig.client.node.write(0, pattern(512, 1));
    // It waits for the range of the write; meanwhile another one stops the job.
    const zero = Promise.resolve(rig.client.node.writeZeroes(0, 512, ZERO_NO_FALLBACK));
    rig.target.meddle = (verb) => {
      if (verb === 'write') throw Object.assign(new Error('no'), { code: 'EIO' });
    };
    await rig.client.node.write(MiB / 2, pattern(512, 1));
    await rig.event('JOB_STATUS_CHANGE', ({ data }) => data.status === 'standby');
    rig.target.meddle = () => {};
    rig.source.meddle = async (verb) => {
      if (verb !== 'zero') return;
      await gate();
      throw Object.assign(new Error('not fast'), { code: 'ENOTSUP' });
    };
    gates[0]!();
    await write;
    job.resume();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([gates.length, job.query()['actively-synced']]).toEqual([2, false]);
    gates[1]!();
    await expect(zero).rejects.toThrow('not fast');
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    await rig.jobs.cancelAll();
  });
});

it.each(['background', 'write-blocking'] as const)(
  'a fast zero that is done, and cannot be flushed, is dirty: %s',
  async (copyMode) => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig.mirror({ copyMode });
    await rig.ready();
    rig.source.meddle = async (verb) => {
      if (verb !== 'zero') return;
      await rig.source.disk.writeZeroes(0, 4096);
      throw Object.assign(new Error('no flush'), { code: 'ENOTSUP' });
    };
    const zero = async () => rig.client.node.writeZeroes(0, 4096, ZERO_NO_FALLBACK | WRITE_FUA);
    await expect(zero()).rejects.toThrow('no flush');
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  },
);
