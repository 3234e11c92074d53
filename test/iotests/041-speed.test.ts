import { expect, it } from 'vitest';
import { startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/** iotest 041: the speed of a job, as it was asked for and as it is shown. */
const MiB = 1 << 20;

describePeers('the speed of a mirror', ['qemu-nbd'], () => {
  it('is none at first, and what was set last', async () => {
    const rig = await startDiskRig({ size: MiB });
    await rig.mirror();
    expect((await rig.job()).speed).toBe(0);
    await rig.execute('block-job-set-speed', { device: 'm0', speed: 8 * MiB });
    expect((await rig.job()).speed).toBe(8 * MiB);
    expect(await rig.refusal('block-job-set-speed', { device: 'm0', speed: -1 })).toBe(
      "Parameter 'speed' expects a non-negative value",
    );
    expect((await rig.job()).speed).toBe(8 * MiB);
  });

  it('is what the mirror was started with', async () => {
    const rig = await startDiskRig({ size: MiB });
    await rig.mirror({ speed: 4 * MiB });
    expect((await rig.job()).speed).toBe(4 * MiB);
    await rig.ready();
    const { data } = await rig.qmp.event('BLOCK_JOB_READY');
    expect(data).toMatchObject({ speed: 4 * MiB });
  });
});
