import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FUSE_TOOLS, lackForFuse, mountByFuse } from '../support/fuse.ts';
import { attachLoop, lackForLoopDevice } from '../support/loop-device.ts';
import { makeImage, startExport } from '../support/nbd-mirror.ts';
import { currentScope, describePeers, startQemuNbd, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/**
 * A real file system on our export, through nbdfuse and a loop device, while it is mirrored: the
 * copy must pass e2fsck and hold the same files.
 */
const MiB = 1 << 20;

/** Mounts a file by a loop device; returns how to undo it before the test's end. */
async function mountLoop(file: string, mountPoint: string, options: string[] = []) {
  const device = attachLoop(currentScope(), file, options);
  mkdirSync(mountPoint);
  const flags = options.includes('--read-only') ? ['-o', 'ro,noload'] : [];
  await mustRun('mount', [...flags, device.path, mountPoint]);
  const unmount = currentScope().owns(() => void execFileSync('umount', [mountPoint]));
  return () => {
    unmount();
    device.detach();
  };
}

const tools = [...FUSE_TOOLS, 'qemu-nbd', 'mkfs.ext4', 'e2fsck', 'mount', 'fstrim'];
const lack = lackForLoopDevice() ?? lackForFuse();

describePeers(`ext4 on a mirrored export${lack ? ` [missing: ${lack}]` : ''}`, tools, () => {
  it.skipIf(lack !== undefined).each(['background', 'write-blocking'])(
    'is whole on the target, %s',
    async (mode) => {
      const directory = await tempDir();
      const path = (name: string) => join(directory, name);
      await makeImage(path('disk.raw'), 128 * MiB);
      await makeImage(path('copy.raw'), 128 * MiB);
      const target = await startQemuNbd({ file: path('copy.raw') });
      const { qmp, uri } = await startExport(path('disk.raw'), [
        '--blockdev',
        `driver=nbd,node-name=target,server.type=unix,server.path=${target.socket}`,
      ]);
      await qmp.execute('blockdev-mirror', {
        'job-id': 'm',
        device: 'source',
        target: 'target',
        sync: 'full',
        'copy-mode': mode,
      });

      const { file } = await mountByFuse(uri);
      await mustRun('mkfs.ext4', ['-q', '-F', file]);
      const unmount = await mountLoop(file, path('mnt'));

      const files = new Map<string, Buffer>();
      for (let n = 0; n < 20; n++) files.set(`file${n}`, randomBytes(1000 + n * 100_000));
      for (const [name, data] of files) writeFileSync(join(path('mnt'), name), data);
      rmSync(join(path('mnt'), 'file3'));
      files.delete('file3');
      files.set('file5', randomBytes(5_000_000));
      writeFileSync(join(path('mnt'), 'file5'), files.get('file5')!);
      await mustRun('fstrim', [path('mnt')]);
      unmount();

      await qmp.event('BLOCK_JOB_READY');
      await qmp.execute('block-job-cancel', { device: 'm' });
      const end = await qmp.event('BLOCK_JOB_COMPLETED');
      expect(end.data['error']).toBeUndefined();
      await target.process.stop();
      await mustRun('e2fsck', ['-fn', path('copy.raw')]);
      await mountLoop(path('copy.raw'), path('check'), ['--read-only']);
      for (const [name, data] of files) {
        expect(readFileSync(join(path('check'), name)).equals(data), name).toBe(true);
      }
    },
  );
});
