import { beforeEach, expect, it } from 'vitest';
import { type DiskRig, startDiskRig } from '../support/disk-rig.ts';
import { describePeers, startNbdkit } from '../support/peers.ts';

/**
 * iotest 129: to stop what goes on does not drain a job: it does not copy until it is through. QEMU
 * stops a guest; here the things that would have to wait are a pause, a transaction, the end of an
 * export and a new speed. The source is a server that gives 128 KiB a second.
 */
const MiB = 1 << 20;
const RATE = ['--filter=rate', 'data', `0x5a*${4 * MiB}`, 'rate=1M'];

describePeers('a mirror of a slow source', ['nbdkit', 'qemu-nbd'], () => {
  let rig: DiskRig;
  beforeEach(async () => {
    const peer = await startNbdkit(RATE);
    rig = await startDiskRig({ size: 4 * MiB });
    await rig.addNbd('slow', peer);
    const copied = { device: 'slow', target: 'target' };
    // Small pieces: what has been asked of the source at the moment of a stop is waited for.
    await rig.mirror({ ...copied, 'buf-size': 16_384, granularity: 16_384 });
    await expect.poll(async () => (await rig.job()).len).toBe(4 * MiB);
  });
  const expectUnfinished = async () => {
    const { offset, len, ready } = await rig.job();
    expect(offset).toBeLessThan(len);
    expect(ready).toBe(false);
  };

  it('is paused long before it is through', async () => {
    await rig.execute('job-pause', { id: 'm0' });
    await rig.status('paused');
    await expectUnfinished();
    await rig.execute('job-resume', { id: 'm0' });
    await rig.status('running');
    await expectUnfinished();
  });

  it('is not drained by a transaction', async () => {
    const add = { type: 'block-dirty-bitmap-add', data: { node: 'slow', name: 'b' } };
    await rig.execute('transaction', { actions: [add] });
    await expectUnfinished();
    expect((await rig.job()).status).toBe('running');
  });

  it('is not drained when an export or the NBD server goes', async () => {
    await rig.execute('block-export-del', { id: 'e0' });
    await rig.execute('nbd-server-stop');
    await expectUnfinished();
  });

  it('takes a new speed while it waits for the source', async () => {
    await rig.execute('block-job-set-speed', { device: 'm0', speed: 65_536 });
    await rig.execute('block-job-set-speed', { device: 'm0', speed: 0 });
    await expectUnfinished();
  });

  it('is abandoned without the rest of its data', async () => {
    await rig.execute('block-job-cancel', { device: 'm0', force: true });
    await rig.status('null');
    const { data } = await rig.qmp.event('BLOCK_JOB_CANCELLED');
    const { offset, len } = data as { offset: number; len: number };
    expect(offset).toBeLessThan(len);
  });
});
