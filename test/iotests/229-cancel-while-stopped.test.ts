import { expect, it } from 'vitest';
import { CANCELLED, STARTED, startDiskRig } from '../support/disk-rig.ts';
import { describePeers, startNbdkit } from '../support/peers.ts';

/**
 * iotest 229: a job that an error has stopped is not cancelled without force; with force it is,
 * though its target still fails. QEMU may tell of further errors in between, since it goes on with
 * the job to end it; our copies stay away from the target once the job is cancelled.
 */
const MiB = 1 << 20;

describePeers('a mirror that an error has stopped', ['nbdkit', 'qemu-nbd', 'qemu-io'], () => {
  it('ends only by force, and lets its clients go on', async () => {
    const failing = ['--filter=error', 'memory', String(MiB), 'error-pwrite-rate=100%'];
    const peer = await startNbdkit(failing);
    const rig = await startDiskRig({ size: MiB });
    await rig.addNbd('broken', peer);
    await rig.mirror({ target: 'broken', 'on-target-error': 'stop' });
    await rig.status('paused');
    expect(await rig.job()).toMatchObject({ 'io-status': 'failed', paused: true });
    for (const given of [{ device: 'm0' }, { device: 'm0', force: false }]) {
      expect(await rig.refusal('block-job-cancel', given)).toBe(
        "The block job for device 'm0' is currently paused",
      );
    }
    expect(await rig.job()).toMatchObject({ status: 'paused' });
    await rig.io('write -P 1 0 64k', 'flush');
    await rig.execute('block-job-cancel', { device: 'm0', force: true });
    await rig.status('null');
    const errors = rig.story().filter((event) => event === 'BLOCK_JOB_ERROR');
    expect(rig.story()).toEqual([...STARTED, ...errors, 'S:paused', 'S:running', ...CANCELLED]);
    await rig.io('read -P 1 0 64k');
  });
});
