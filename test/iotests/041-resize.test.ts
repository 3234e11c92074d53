import { expect, it } from 'vitest';
import { type DiskRig, startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/** iotest 041: neither side of a mirror changes its size while the job is there. */
const MiB = 1 << 20;
const STATES = ['running', 'ready', 'standby', 'pending'] as const;

describePeers('block_resize', ['qemu-nbd'], () => {
  const start = async (): Promise<DiskRig> => {
    const rig = await startDiskRig({ size: MiB });
    // Without the export: nobody but the job may be the reason.
    await rig.execute('block-export-del', { id: 'e0' });
    const copy = { driver: 'x-memory', 'node-name': 'copy', size: MiB };
    await rig.execute('blockdev-add', copy);
    return rig;
  };

  it.each(STATES)('is refused while the job is %s', async (state) => {
    const rig = await start();
    const names = { target: 'copy', 'filter-node-name': 'top', 'auto-finalize': false };
    await rig.mirror({ ...names, ...(state === 'running' && { speed: 65_536 }) });
    if (state !== 'running') await rig.ready();
    if (state === 'standby') await rig.execute('job-pause', { id: 'm0' });
    if (state === 'pending') await rig.execute('job-complete', { id: 'm0' });
    await rig.status(state);
    for (const name of ['source', 'copy', 'top']) {
      for (const size of [0, 2 * MiB]) {
        expect(await rig.refusal('block_resize', { 'node-name': name, size })).toMatch(
          /is in use|Permission conflict/,
        );
      }
    }
    expect((await rig.job()).status).toBe(state);
  });

  it('works when the job is over', async () => {
    const rig = await start();
    await rig.mirror({ target: 'copy' });
    await rig.ready();
    await rig.execute('block-job-cancel', { device: 'm0' });
    await rig.status('null');
    await rig.execute('block_resize', { 'node-name': 'source', size: 2 * MiB });
  });
});
