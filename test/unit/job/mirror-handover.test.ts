import { describe, expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const MiB = 1 << 20;
const GRANULE = 65536;

/** A wait that the test ends. */
function gate() {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

describe.each([
  ['private', undefined],
  ["caller's", 'b0'],
])('the hand-over of a %s bitmap', (_kind, bitmap) => {
  it('does not lose a write that was below the filter before the filter was there', async () => {
    const rig = new MirrorRig({ size: MiB });
    if (bitmap !== undefined) rig.bitmap(bitmap);
    const slow = gate();
    rig.source.meddle = (verb) => (verb === 'write' ? slow.opened : undefined);
    const early = rig.client.node.write(GRANULE, pattern(GRANULE, 1));
    rig.source.meddle = () => {};
    rig.mirror(bitmap === undefined ? { sync: 'full' } : { sync: 'full', bitmap });
    // Long enough for a job that does not wait to scan, copy and become READY.
    await new Promise((resolve) => setTimeout(resolve, 30));
    slow.open();
    await early;
    await rig.ready();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('copies the whole of a write that was below the filter, not another one’s part', async () => {
    const rig = new MirrorRig({ size: MiB });
    if (bitmap !== undefined) rig.bitmap(bitmap);
    const slow = gate();
    rig.source.meddle = (verb) => (verb === 'write' ? slow.opened : undefined);
    const early = rig.client.node.write(GRANULE, pattern(4096, 1));
    rig.source.meddle = () => {};
    const job = rig.mirror(bitmap === undefined ? { sync: 'none' } : { sync: 'full', bitmap });
    job.pause();
    await new Promise((resolve) => setTimeout(resolve, 30));
    await rig.client.node.write(GRANULE + 32_768, pattern(4096, 2));
    slow.open();
    await early;
    job.resume();
    await rig.ready();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('is given up by a forced cancel while the source hangs, and loses nothing', async () => {
    const rig = new MirrorRig({ size: MiB });
    const given = bitmap === undefined ? undefined : rig.bitmap(bitmap);
    const slow = gate();
    rig.source.meddle = (verb) => (verb === 'write' ? slow.opened : undefined);
    const early = rig.client.node.write(GRANULE, pattern(4096, 1));
    const job = rig.mirror(bitmap === undefined ? {} : { bitmap });
    await new Promise((resolve) => setTimeout(resolve, 20));
    rig.source.meddle = () => {};
    await rig.client.node.write(3 * GRANULE, pattern(4096, 2));
    job.cancel({ force: true });
    await job.ended;
    expect(rig.graph.find('mirror-top')).toBeUndefined();
    expect(rig.source.bitmaps).toEqual(given === undefined ? [] : [given]);
    expect(given?.isDirty(3 * GRANULE)).not.toBe(false);
    given?.clear();
    await rig.client.node.write(5 * GRANULE, pattern(4096, 3));
    slow.open();
    await early;
    if (given === undefined) return;
    expect([given.busy, given.enabled, given.count]).toEqual([false, true, 2 * GRANULE]);
  });

  it('does not lose a write that comes between the command and the job', async () => {
    const rig = new MirrorRig({ size: MiB });
    if (bitmap !== undefined) rig.bitmap(bitmap);
    rig.mirror(bitmap === undefined ? { sync: 'none' } : { sync: 'full', bitmap });
    await rig.client.node.write(GRANULE, pattern(GRANULE, 1));
    await rig.ready();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

it.each(['top1', 'mirror-top'])(
  'writes that wait when a mirror is cancelled are seen by the next one, with filter %s',
  async (filterNodeName) => {
    const rig = new MirrorRig({ size: MiB });
    const second = new ShakyNode(new MemoryNode('second', { size: MiB }));
    rig.graph.add(second);
    const first = rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    const gates: (() => void)[] = [];
    rig.source.meddle = (verb) =>
      verb === 'write' ? new Promise<void>((resolve) => void gates.push(resolve)) : undefined;
    const letGo = async () => {
      await expect.poll(() => gates.length).toBe(1);
      gates.shift()!();
    };
    const writes = [1, 2, 3].map((seed) => rig.client.node.write(0, pattern(4096, seed)));
    first.cancel({ force: true });
    await expect.poll(() => rig.graph.find('mirror-top')).toBeUndefined();
    const job = rig.mirror({ id: 'mirror1', target: second, filterNodeName });
    const third = new MemoryNode('third', { size: MiB });
    rig.graph.add(third);
    rig.mirror({ id: 'mirror2', target: third, filterNodeName: 'top2' }).cancel({ force: true });
    await letGo();
    await letGo();
    await rig.event('BLOCK_JOB_READY', ({ data }) => data['device'] === 'mirror1');
    await letGo();
    await Promise.all(writes);
    await first.ended;
    job.cancel({ force: false });
    await job.ended;
    expect(await areEqual(rig.source, second)).toBe(true);
    expect(rig.graph.usersOf(rig.source)).toEqual([rig.client]);
  },
);

describe('the sync modes of other jobs', () => {
  it.each(['incremental', 'bitmap'] as const)('%s is refused', (sync) => {
    const rig = new MirrorRig({ size: MiB });
    rig.bitmap('b0');
    expect(() => rig.mirror({ sync })).toThrow(`Sync mode '${sync}' not supported`);
    expect(() => rig.mirror({ sync, bitmap: 'b0' })).toThrow(
      `Sync mode '${sync}' not supported with bitmap.`,
    );
  });
});

describe("a caller's bitmap", () => {
  it('is all there is to copy', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig.bitmap('b0', [[3 * GRANULE, 10]]);
    rig.mirror({ bitmap: 'b0' });
    const ready = await rig.ready();
    expect(ready.data.offset).toBe(GRANULE);
    expect(rig.target.log.filter((line) => line.startsWith('write'))).toEqual([
      `write ${3 * GRANULE}+${GRANULE}`,
    ]);
    await rig.jobs.cancelAll();
  });

  it('is busy and not recording while the job has it, and neither after success', async () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0' });
    expect([bitmap.busy, bitmap.enabled]).toEqual([true, true]);
    await rig.ready();
    expect([bitmap.busy, bitmap.enabled]).toEqual([true, false]);
    job.cancel({ force: false });
    await job.ended;
    expect([bitmap.busy, bitmap.enabled, bitmap.count]).toEqual([false, true, 0]);
    await rig.client.node.write(0, pattern(10, 1));
    expect(bitmap.count).toBe(GRANULE);
  });

  it('has no instant after the job in which a write goes unrecorded', async () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0', autoFinalize: false });
    await rig.ready();
    job.cancel({ force: false });
    await rig.event('BLOCK_JOB_PENDING');
    const held = rig.client.node.write(5 * GRANULE, pattern(10, 1));
    job.finalize();
    await held;
    expect(bitmap.isDirty(5 * GRANULE)).toBe(true);
    await job.ended;
    expect(bitmap.count).toBe(GRANULE);
  });

  it('is busy until the last write that went through the filter has ended', async () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0' });
    await rig.ready();
    const slow = gate();
    rig.source.meddle = (verb) => (verb === 'write' ? slow.opened : undefined);
    const write = rig.client.node.write(0, pattern(10, 1));
    job.cancel({ force: true });
    await rig.event('JOB_STATUS_CHANGE', (event) => event.data.status === 'aborting');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(bitmap.busy).toBe(true);
    slow.open();
    await Promise.all([write, job.ended]);
    expect([bitmap.busy, bitmap.isDirty(0)]).toEqual([false, true]);
  });

  it('is handed back when the job cannot start', () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    expect(() => rig.mirror({ bitmap: 'b0', speed: -1 })).toThrow('non-negative');
    expect([bitmap.busy, bitmap.enabled]).toEqual([false, true]);
    expect(rig.graph.nodes()).toHaveLength(2);
    expect(rig.story).toEqual([]);
  });

  it.each([
    [{ sync: 'top' as const }, "Sync mode 'top' not supported with bitmap."],
    [{ sync: 'none' as const, bitmap: 'no' }, "Sync mode 'none' not supported with bitmap."],
    [{ granularity: 65536 }, 'Granularity and bitmap cannot both be set'],
    [{ bitmap: 'no' }, "Dirty bitmap 'no' not found"],
  ])('is refused with %j', (options, message) => {
    const rig = new MirrorRig({ size: MiB });
    rig.bitmap('b0');
    expect(() => rig.mirror({ bitmap: 'b0', ...options })).toThrow(message);
  });

  it.each([
    ['busy', "Bitmap 'b0' is currently in use by another operation and cannot be used"],
    ['readOnly', "Bitmap 'b0' is readonly and cannot be modified"],
    ['inconsistent', "Bitmap 'b0' is inconsistent and cannot be used"],
  ] as const)('is refused when %s', (flag, message) => {
    const rig = new MirrorRig({ size: MiB });
    rig.bitmap('b0')[flag] = true;
    expect(() => rig.mirror({ bitmap: 'b0' })).toThrow(message);
  });

  it('is refused when disabled', () => {
    const rig = new MirrorRig({ size: MiB });
    rig.source.setRecording(rig.bitmap('b0'), false);
    expect(() => rig.mirror({ bitmap: 'b0' })).toThrow("Bitmap 'b0' is not enabled");
  });
});
