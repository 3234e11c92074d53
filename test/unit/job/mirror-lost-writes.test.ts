import { expect, it } from 'vitest';
import { WRITE_FUA, ZERO_NO_FALLBACK } from '../../../src/block/node.ts';
import { MiB } from '../../../src/util/limits.ts';
import { areEqual, contents, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import type { Verb } from '../../support/shaky-node.ts';

/** What a target has answered, and may have lost all the same. */
const GRANULE = 65_536;

it("is in a caller's bitmap when a later write with FUA fails", async () => {
  const rig = new MirrorRig({ size: MiB });
  const bitmap = rig.bitmap('b0');
  const job = rig.mirror({ bitmap: 'b0', copyMode: 'write-blocking' });
  await rig.ready();
  await rig.client.node.write(0, pattern(512, 1));
  // The server tells of its lost pages here, and to nobody after that.
  rig.target.meddle = (verb) => {
    if (verb !== 'write') return;
    rig.target.meddle = () => {};
    throw Object.assign(new Error('the disk is on fire'), { code: 'EIO' });
  };
  await rig.client.node.write(4 * GRANULE, pattern(512, 2), WRITE_FUA);
  await job.ended;
  expect(rig.target.log.at(-1)).toBe('flush 0+0');
  expect([bitmap.isDirty(0), bitmap.isDirty(4 * GRANULE)]).toEqual([true, true]);
});

it('is nothing when it is the source that fails', async () => {
  const rig = new MirrorRig({ size: MiB });
  const bitmap = rig.bitmap('b0');
  rig.mirror({ bitmap: 'b0', copyMode: 'write-blocking' });
  await rig.ready();
  await rig.client.node.write(0, pattern(512, 1));
  rig.source.meddle = async (verb) => {
    if (verb === 'zero') throw Object.assign(new Error('broken'), { code: 'EIO' });
  };
  const flags = WRITE_FUA | ZERO_NO_FALLBACK;
  rig.target.log.length = 0;
  await expect(rig.client.node.writeZeroes(4 * GRANULE, 512, flags)).rejects.toThrow('broken');
  await expect.poll(() => bitmap.count).toBe(0);
  expect(rig.target.log).toEqual([`zero ${4 * GRANULE}+${GRANULE}`]);
  await rig.jobs.cancelAll();
});

it('is copied again of a write that goes on while it is lost', async () => {
  const rig = new MirrorRig({ size: MiB });
  const job = rig.mirror({ copyMode: 'write-blocking', onTargetError: 'ignore' });
  await rig.ready();
  const gates: (() => void)[] = [];
  const wait = () => new Promise<void>((resolve) => void gates.push(resolve));
  rig.source.meddle = (verb) => (verb === 'write' ? wait() : undefined);
  rig.target.meddle = (verb) => (verb === 'write' ? wait() : undefined);
  const writing = rig.client.node.write(0, pattern(512, 1));
  // The target's is the first. It arrives behind this flush, and is answered.
  await rig.client.node.flush();
  gates[0]!();
  await expect.poll(async () => (await contents(rig.target.disk))[0]).not.toBe(0);
  rig.target.meddle = () => {};
  await rig.target.disk.writeZeroes(0, 512);
  rig.target.reconnect();
  gates[1]!();
  await writing;
  await expect.poll(() => job.query()['actively-synced']).toBe(true);
  expect(await areEqual(rig.source, rig.target)).toBe(true);
  await rig.jobs.cancelAll();
});

it.each(['write', 'zero'] as const)(
  'is copied again of a copy that a flush has overtaken: %s',
  async (verb) => {
    const rig = new MirrorRig({ size: MiB });
    const [from, to] = verb === 'write' ? [rig.source, rig.target] : [rig.target, rig.source];
    await from.disk.write(0, pattern(MiB, 1));
    await to.disk.writeZeroes(0, MiB);
    const gates: (() => void)[] = [];
    const waiting = (what: Verb) => (actual: Verb) =>
      actual === what ? new Promise<void>((resolve) => void gates.push(resolve)) : undefined;
    rig.target.meddle = waiting(verb);
    rig.mirror({ copyMode: 'write-blocking' });
    await expect.poll(() => gates.length).toBe(1);
    await rig.client.node.flush();
    rig.target.meddle = waiting('flush');
    gates[0]!();
    // The flush before READY has begun, so the copy has ended; the server takes both with it.
    await expect.poll(() => gates.length).toBe(2);
    await rig.target.disk.write(0, pattern(MiB, 2));
    rig.target.reconnect();
    rig.target.meddle = () => {};
    gates[1]!();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  },
);

it('is copied again of a client’s write that a flush has overtaken', async () => {
  const rig = new MirrorRig({ size: MiB });
  rig.mirror({ copyMode: 'write-blocking' });
  await rig.ready();
  let arrive = () => {};
  rig.target.meddle = () =>
    new Promise<void>((resolve) => {
      arrive = resolve;
    });
  const writing = rig.client.node.write(0, pattern(512, 1));
  rig.target.meddle = () => {};
  await rig.client.node.flush();
  arrive();
  await writing;
  await rig.target.disk.writeZeroes(0, 512);
  rig.target.reconnect();
  await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
  await rig.jobs.cancelAll();
});

it('is copied again before READY when the flush for it outlives the server', async () => {
  const rig = new MirrorRig({ size: MiB });
  const bitmap = rig.bitmap('b0', [[0, MiB]]);
  await rig.source.disk.write(0, pattern(MiB, 1));
  let open = () => {};
  rig.target.meddle = (verb) =>
    verb === 'flush' ? new Promise<void>((resolve) => (open = resolve)) : undefined;
  rig.mirror({ bitmap: 'b0' });
  await expect.poll(() => rig.target.log.at(-1)).toBe('flush 0+0');
  rig.target.meddle = () => {};
  await rig.target.disk.writeZeroes(0, MiB);
  rig.target.reconnect();
  expect(bitmap.count).toBe(MiB);
  let dirtyBytes: number | undefined;
  const ready = rig.event('BLOCK_JOB_READY', () => {
    dirtyBytes = bitmap.count;
    return true;
  });
  // Sent again, it succeeds.
  open();
  await ready;
  expect([dirtyBytes, await areEqual(rig.source, rig.target)]).toEqual([0, true]);
  await rig.jobs.cancelAll();
});
