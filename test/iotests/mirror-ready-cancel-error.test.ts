import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { pattern } from '../support/mirror-rig.ts';
import { makeImage } from '../support/nbd-mirror.ts';
import { describePeers, startNbdkit, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { type QmpRig, startQmpRig, storyOf } from '../support/qmp-rig.ts';

/**
 * iotest mirror-ready-cancel-error: with on-target-error=stop, the flush that ends a soft cancel
 * fails. The job waits; it goes on when the error was transient, and can be forced to end.
 */
const SIZE = 1 << 20;

describePeers('a soft cancel whose flush fails', ['nbdkit', 'qemu-img', 'qemu-io'], () => {
  let rig: QmpRig;
  let source: string;
  let target: string;
  /** While this file is there, the target's flushes fail. */
  let broken: string;

  beforeEach(async () => {
    const directory = await tempDir();
    [source, target, broken] = ['s.raw', 't.raw', 'broken'].map((name) =>
      join(directory, name),
    ) as [string, string, string];
    await writeFile(source, pattern(SIZE, 3));
    await makeImage(target, SIZE);
    const { socket } = await startNbdkit([
      'eval',
      `get_size=echo ${SIZE}`,
      `pread=dd if=${target} iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none`,
      `pwrite=dd of=${target} oflag=seek_bytes conv=notrunc seek=$4 status=none`,
      `flush=test ! -e ${broken} || { echo EIO broken >&2; exit 1; }`,
      'can_write=exit 0',
      'can_flush=exit 0',
    ]);
    rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'file', 'node-name': 'disk', filename: source });
    const server = { type: 'unix', path: socket };
    await rig.execute('blockdev-add', { driver: 'nbd', 'node-name': 'copy', server });
    await rig.startNbdServer();
    const given = { type: 'nbd', id: 'e0', 'node-name': 'disk', writable: true };
    await rig.execute('block-export-add', given);
    await rig.execute('blockdev-mirror', {
      'job-id': 'm0',
      device: 'disk',
      target: 'copy',
      sync: 'full',
      'on-target-error': 'stop',
    });
    await rig.qmp.event('BLOCK_JOB_READY');
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 64k', rig.uri('disk')]);
    await writeFile(broken, '');
    await rig.execute('block-job-cancel', { device: 'm0' });
    const error = await rig.qmp.event('BLOCK_JOB_ERROR');
    expect(error['data']).toMatchObject({
      device: 'm0',
      operation: 'write',
      action: 'stop',
      'x-side': 'target',
      'x-errno': 'EIO',
    });
    await rig.qmp.event('JOB_STATUS_CHANGE', ({ status }) => status === 'standby');
    const [job] = (await rig.execute('query-block-jobs')) as object[];
    expect(job).toMatchObject({ ready: true, paused: true, 'io-status': 'failed' });
  });

  it('goes on to its end when the error has passed', async () => {
    await rm(broken);
    await rig.execute('block-job-resume', { device: 'm0' });
    await rig.qmp.event('BLOCK_JOB_COMPLETED', (data) => data['error'] === undefined);
    expect(storyOf(rig.qmp).filter((line) => line.startsWith('BLOCK_JOB_ERROR'))).toHaveLength(1);
    await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', source, target]);
  });

  it('stops again while it persists, and ends by force', async () => {
    await rig.execute('block-job-resume', { device: 'm0' });
    const standbys = () =>
      storyOf(rig.qmp).filter((line) => line === 'JOB_STATUS_CHANGE standby').length;
    while (standbys() < 2) await rig.execute('query-jobs');
    expect(await rig.refusal('block-job-cancel', { device: 'm0' })).toBe(
      "The block job for device 'm0' is currently paused",
    );
    await rig.execute('block-job-cancel', { device: 'm0', force: true });
    await rig.qmp.event('BLOCK_JOB_CANCELLED');
    await rig.qmp.event('JOB_STATUS_CHANGE', ({ status }) => status === 'null');
    await rig.execute('blockdev-del', { 'node-name': 'copy' });
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write 64k 64k', rig.uri('disk')]);
  });
});
