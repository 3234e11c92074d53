import { expect, it } from 'vitest';
import { startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/** iotest 041: buffers and granularities that do not go together are made to. */
const MiB = 1 << 20;

describePeers('a mirror with', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  it.each([
    { 'buf-size': 4096 },
    { 'buf-size': 65_536 + 1 },
    { 'buf-size': 0 },
    { granularity: 8192 },
    { granularity: 512, 'buf-size': 512 },
    // More than the whole disk.
    { granularity: 64 * MiB, 'buf-size': 1 },
  ])('%j becomes READY and completes equal', async (given) => {
    const rig = await startDiskRig({ size: 4 * MiB });
    await rig.mirror(given);
    await rig.ready();
    const { offset, len } = await rig.job();
    expect(offset).toBe(len);
    await rig.io('write -P 0x66 1048575 3');
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
  });

  it.each([
    [{ 'buf-size': -1 }, "Invalid parameter 'buf-size'"],
    [{ granularity: 256 }, "Parameter 'granularity' expects a value in range [512B, 64MB]"],
    [{ granularity: 1000 }, "Parameter 'granularity' expects a power of 2"],
  ])('%j is refused', async (given, refusal) => {
    const rig = await startDiskRig({ size: MiB });
    const mirror = { 'job-id': 'm0', device: 'source', target: 'target', sync: 'full', ...given };
    expect(await rig.refusal('blockdev-mirror', mirror)).toBe(refusal);
    expect(await rig.execute('query-jobs')).toEqual([]);
  });
});
