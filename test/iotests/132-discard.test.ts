import { expect, it } from 'vitest';
import { startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/** iotest 132: what a client discards or zeroes while the mirror runs is gone on both sides. */
const MiB = 1 << 20;

describePeers('a discard', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  it.each(['background', 'write-blocking'])('after READY, %s', async (copyMode) => {
    const rig = await startDiskRig({ size: 4 * MiB });
    await rig.mirror({ 'copy-mode': copyMode });
    await rig.ready();
    await rig.io('discard 0 64k', 'discard 1000k 100k', 'discard 1536k 512', 'flush');
    await rig.io('read -P 0 0 64k');
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
  });

  it('of what is still to be copied', async () => {
    const rig = await startDiskRig({ size: 4 * MiB });
    await rig.mirror({ speed: 65_536 });
    await rig.io('discard 1M 512k', 'discard 1800k 3k', 'write -z -u 0 64k');
    expect((await rig.job()).ready).toBe(false);
    await rig.execute('block-job-set-speed', { device: 'm0', speed: 0 });
    await rig.ready();
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
    await rig.io('read -P 0 1M 512k', 'read -P 0 0 64k');
  });
});
