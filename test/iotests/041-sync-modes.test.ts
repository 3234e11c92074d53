import { expect, it } from 'vitest';
import { startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** iotest 041: what each sync mode makes of a source without a backing file. */
const MiB = 1 << 20;

describePeers('a mirror of a source with holes', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  const garbage = Buffer.alloc(4 * MiB, 0xee);
  const start = async (sync: string) => {
    const content = Buffer.alloc(MiB, 0x11);
    const rig = await startDiskRig({ size: 4 * MiB, content, targetContent: garbage });
    await rig.mirror({ sync });
    await rig.ready();
    return rig;
  };
  const targetHolds = (file: string, ...commands: string[]) =>
    mustRun('qemu-io', ['-r', '-U', '-f', 'raw', ...commands.flatMap((c) => ['-c', c]), file]);

  it('full: zeroes take the place of what the target held', async () => {
    const rig = await start('full');
    expect((await rig.job()).len).toBe(4 * MiB);
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
  });

  it('top: the same, as nothing is below a raw disk', async () => {
    const rig = await start('top');
    expect((await rig.job()).len).toBe(4 * MiB);
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
  });

  it('none: only what is written from now on', async () => {
    const rig = await start('none');
    expect((await rig.job()).len).toBe(0);
    await rig.io('write -P 0x22 64k 64k');
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await targetHolds(
      rig.targetFile,
      'read -P 0xee 0 64k',
      'read -P 0x22 64k 64k',
      'read -P 0xee 128k 3968k',
    );
  });
});
