import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { pattern } from '../support/mirror-rig.ts';
import { makeImage } from '../support/nbd-mirror.ts';
import { describePeers, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { type QmpRig, startQmpRig, storyOf } from '../support/qmp-rig.ts';

/**
 * iotest 194: a disk moves to another host. The destination serves an empty disk over NBD, the
 * source mirrors onto it, and a soft cancel ends that without a pivot. (Moving the bitmap itself is
 * migration's work in QEMU; here both sides keep their own.)
 */
const MiB = 1 << 20;

describePeers('a disk that moves to another server', ['qemu-io', 'qemu-img'], () => {
  const bitmapCount = async (rig: QmpRig, node: string): Promise<number> => {
    const nodes = (await rig.execute('query-named-block-nodes')) as Record<string, unknown>[];
    const found = nodes.find((one) => one['node-name'] === node)!;
    return (found['dirty-bitmaps'] as { count: number }[])[0]!.count;
  };

  it('is the same on both when the soft cancel has completed', async () => {
    const directory = await tempDir();
    const [file, copy] = [join(directory, 'source.raw'), join(directory, 'copy.raw')];
    await writeFile(file, pattern(4 * MiB, 1));
    await makeImage(copy, 4 * MiB);

    const destination = await startQmpRig();
    await destination.execute('blockdev-add', {
      driver: 'file',
      'node-name': 'drive0',
      filename: copy,
    });
    await destination.startNbdServer();
    await destination.execute('nbd-server-add', { device: 'drive0', writable: true });

    const source = await startQmpRig();
    await source.execute('blockdev-add', { driver: 'file', 'node-name': 'drive0', filename: file });
    await source.execute('block-dirty-bitmap-add', { node: 'drive0', name: 'bitmap0' });
    await source.startNbdServer();
    await source.execute('nbd-server-add', { device: 'drive0', writable: true });
    await source.execute('blockdev-add', {
      driver: 'nbd',
      'node-name': 'remote',
      server: { type: 'unix', path: destination.socket },
      export: 'drive0',
    });
    const mirror = { 'job-id': 'mirror-job0', device: 'drive0', target: 'remote', sync: 'full' };
    await source.execute('blockdev-mirror', mirror);
    const ready = await source.qmp.event('BLOCK_JOB_READY');
    expect(ready['data']).toMatchObject({ device: 'mirror-job0', len: 4 * MiB, offset: 4 * MiB });
    // To copy is not to write to the source.
    expect(await bitmapCount(source, 'drive0')).toBe(0);

    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 9 1M 64k', source.uri('drive0')]);
    await source.execute('block-job-cancel', { device: 'mirror-job0' });
    const end = await source.qmp.event('BLOCK_JOB_COMPLETED');
    expect(end['data']).toMatchObject({ len: 4 * MiB + 65536, offset: 4 * MiB + 65536 });
    expect(end['data']).not.toHaveProperty('error');
    expect(await bitmapCount(source, 'drive0')).toBe(65536);
    expect(storyOf(source.qmp)).toEqual([
      'JOB_STATUS_CHANGE created',
      'JOB_STATUS_CHANGE running',
      'JOB_STATUS_CHANGE ready',
      'BLOCK_JOB_READY mirror-job0',
      'JOB_STATUS_CHANGE waiting',
      'JOB_STATUS_CHANGE pending',
      'BLOCK_JOB_COMPLETED mirror-job0',
      'JOB_STATUS_CHANGE concluded',
      'JOB_STATUS_CHANGE null',
    ]);

    await source.execute('blockdev-del', { 'node-name': 'remote' });
    await destination.execute('nbd-server-stop');
    expect(storyOf(destination.qmp)).toEqual(['BLOCK_EXPORT_DELETED drive0']);
    await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', file, copy]);
    // No pivot: the source goes on where it was.
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 3 0 64k', source.uri('drive0')]);
    await mustRun('qemu-io', ['-r', '-U', '-f', 'raw', '-c', 'read -P 3 0 64k', file]);
  });
});
