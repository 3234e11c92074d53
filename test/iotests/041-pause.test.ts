import { expect, it } from 'vitest';
import { startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';
import { pause } from '../support/process.ts';

/** iotest 041: a paused mirror stands still, and forgets nothing. */
const MiB = 1 << 20;

describePeers('a paused mirror', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  it('copies nothing until it is resumed, then ends equal', async () => {
    const rig = await startDiskRig({ size: 4 * MiB });
    await rig.mirror({ speed: MiB });
    await expect.poll(async () => (await rig.job()).offset).toBeGreaterThan(0);
    await rig.execute('job-pause', { id: 'm0' });
    await rig.status('paused');
    const { offset, len, paused } = await rig.job();
    expect(paused).toBe(true);
    expect(offset).toBeLessThan(len);
    await rig.io('write -P 0x55 0 64k', 'write -P 0x66 3M 64k');
    // At this speed some 500 KiB would have been copied.
    await pause(500);
    expect((await rig.job()).offset).toBe(offset);
    await rig.execute('block-job-set-speed', { device: 'm0', speed: 0 });
    await pause(100);
    expect((await rig.job()).offset).toBe(offset);
    await rig.execute('job-resume', { id: 'm0' });
    await rig.ready();
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
  });
});
