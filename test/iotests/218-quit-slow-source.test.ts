import { expect, it } from 'vitest';
import { CANCELLED, STARTED } from '../support/disk-rig.ts';
import { startDaemon } from '../support/nbd-mirror.ts';
import { describePeers, startNbdkit } from '../support/peers.ts';

/** iotest 218: the end of the process does not wait for a source that hardly answers. */
describePeers('quit', ['nbdkit'], () => {
  it('ends within seconds while a read of the source takes minutes', {
    timeout: 20_000,
  }, async () => {
    const slow = await startNbdkit(['--filter=delay', 'data', '0x5a*1048576', 'rdelay=60']);
    const { qmp, process } = await startDaemon();
    const server = { type: 'unix', path: slow.socket };
    await qmp.execute('blockdev-add', { driver: 'nbd', 'node-name': 'source', server });
    const target = { driver: 'x-memory', 'node-name': 'target', size: 1 << 20 };
    await qmp.execute('blockdev-add', target);
    const pair = { device: 'source', target: 'target' };
    await qmp.execute('blockdev-mirror', { 'job-id': 'm0', ...pair, sync: 'full' });
    await expect
      .poll(async () => (await qmp.execute('query-jobs'))[0]?.['total-progress'])
      .toBe(1 << 20);
    await qmp.execute('quit');
    expect(await process.exited).toBe(0);
    const story = qmp.events
      .filter(({ event }) => event.includes('JOB'))
      .map(({ event, data }) => (event === 'JOB_STATUS_CHANGE' ? `S:${data['status']}` : event));
    expect(story).toEqual([...STARTED, ...CANCELLED]);
  });
});
