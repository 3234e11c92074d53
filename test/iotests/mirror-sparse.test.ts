import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeImage } from '../support/nbd-mirror.ts';
import { describePeers, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { startQmpRig } from '../support/qmp-rig.ts';

/**
 * iotest mirror-sparse: a sparse disk stays sparse on its copy, however the copy was made. Only
 * what was preallocated, and may not be unmapped, stays allocated.
 */
const MiB = 1 << 20;
const SIZE = 8 * MiB;

type Discard = 'ignore' | 'unmap';
type DetectZeroes = 'off' | 'on' | 'unmap';
const CASES = (['external', 'off', 'full'] as const).flatMap((creation) =>
  (['ignore', 'unmap'] as const).flatMap((discard) =>
    (['off', 'on', 'unmap'] as const).map(
      (detectZeroes) => [creation, discard, detectZeroes] as const,
    ),
  ),
);
/** QEMU refuses this at blockdev-add, and so do we. */
const isRefused = (discard: Discard, detectZeroes: DetectZeroes) =>
  discard === 'ignore' && detectZeroes === 'unmap';

async function makeSparseSource(path: string): Promise<void> {
  await makeImage(path, SIZE, Buffer.alloc(MiB, 4));
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(MiB, 5), 0, MiB, 4 * MiB);
  await file.close();
}

const allocated = async (path: string) => (await stat(path)).blocks * 512;

describePeers('the copy of a sparse disk', ['qemu-img'], () => {
  describe.each(CASES)('target %s, discard %s, detect-zeroes %s', (creation, discard, zeroes) => {
    it('is as sparse as it may be', async () => {
      const directory = await tempDir();
      const [source, target] = [join(directory, 'source.raw'), join(directory, 'target.raw')];
      await makeSparseSource(source);
      if (creation === 'external') await makeImage(target, SIZE);
      else {
        const how = ['-f', 'raw', '-o', `preallocation=${creation}`];
        await mustRun('qemu-img', ['create', '-q', ...how, target, `${SIZE}`]);
      }
      if (creation === 'full') expect(await allocated(target)).toBe(SIZE);

      const rig = await startQmpRig();
      await rig.execute('blockdev-add', { driver: 'file', 'node-name': 'disk', filename: source });
      const add = { driver: 'file', 'node-name': 'copy', filename: target, discard };
      if (isRefused(discard, zeroes)) {
        await rig.refusal('blockdev-add', { ...add, 'detect-zeroes': zeroes });
        return;
      }
      await rig.execute('blockdev-add', { ...add, 'detect-zeroes': zeroes });
      const mirror = { 'job-id': 'm0', device: 'disk', target: 'copy', sync: 'full' };
      await rig.execute('blockdev-mirror', mirror);
      await rig.qmp.event('BLOCK_JOB_READY');
      await rig.execute('block-job-cancel', { device: 'm0' });
      await rig.qmp.event('BLOCK_JOB_COMPLETED', (data) => data['error'] === undefined);
      await rig.execute('blockdev-del', { 'node-name': 'copy' });
      await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', source, target]);
      const staysAllocated = creation === 'full' && discard === 'ignore';
      if (staysAllocated) expect(await allocated(target)).toBe(SIZE);
      else expect(await allocated(target)).toBeLessThan(3 * MiB);
    });
  });
});
