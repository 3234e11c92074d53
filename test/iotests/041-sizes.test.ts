import { randomFillSync } from 'node:crypto';
import { expect, it } from 'vitest';
import { CANCELLED, COMPLETED, FAILED, READY, STARTED, startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/** iotest 041: sizes that differ, that are odd, that are nothing. */
const KiB = 1024;
const TOOLS = ['qemu-nbd', 'qemu-io', 'qemu-img'];

describePeers('a mirror to a target of', TOOLS, () => {
  it.each([
    ['fewer bytes', 1024 * KiB, 1023 * KiB],
    ['more bytes', 1024 * KiB, 1025 * KiB],
    ['no bytes', 1024 * KiB, 0],
    ['more bytes than none', 0, 64 * KiB],
  ])('%s fails as a job, and clients stay', async (_what, size, targetSize) => {
    const rig = await startDiskRig({ size, targetSize });
    await rig.mirror();
    await rig.status('null');
    expect(rig.story()).toEqual([...STARTED, ...FAILED]);
    const { data } = await rig.qmp.event('BLOCK_JOB_COMPLETED');
    expect(data).toMatchObject({
      device: 'm0',
      type: 'mirror',
      error: 'Source and target image have different sizes',
    });
    const [disk] = (await rig.execute('query-block-exports')) as { 'node-name': string }[];
    expect(disk!['node-name']).toBe('source');
  });
});

describePeers('a mirror of an odd size', TOOLS, () => {
  const KINDS = [
    ['no bytes', 0],
    ['1025 KiB', 1025 * KiB],
    ['a sector more than a granule', 64 * KiB + 512],
  ] as const;
  const ENDS = [
    ['job-complete', { id: 'm0' }, COMPLETED],
    ['block-job-cancel', { device: 'm0' }, COMPLETED],
    ['block-job-cancel', { device: 'm0', force: true }, CANCELLED],
  ] as const;

  it.each(KINDS.flatMap(([name, size]) => ENDS.map((end) => ({ name, size, end }))))(
    '$name: $end.0 $end.1',
    async ({ size, end: [verb, given, story] }) => {
      const content = randomFillSync(Buffer.alloc(size));
      const rig = await startDiskRig({ size, content });
      await rig.mirror();
      await rig.ready();
      const { offset, len, 'actively-synced': synced } = await rig.job();
      expect(offset).toBe(len);
      // The last granule hangs over the end, which is no progress; no bytes are in sync by nature.
      expect(len).toBe(size);
      expect(synced).toBe(size === 0);
      if (size > 0) await rig.io(`write -P 0x66 ${size - 512} 512`);
      await rig.execute(verb, given);
      await rig.status('null');
      expect(rig.story()).toEqual([...STARTED, ...READY, ...story]);
      if (story === COMPLETED) await rig.compare();
    },
  );

  it('has no more bytes for its clients after the pivot', async () => {
    const rig = await startDiskRig({ size: 1025 * KiB });
    await rig.mirror();
    await rig.ready();
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    expect(await rig.io('length')).toContain('1.001 MiB');
  });
});
