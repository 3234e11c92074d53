import { afterEach, beforeEach, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

let rig: MonitorRig;
beforeEach(() => {
  rig = makeMonitorRig();
});
afterEach(() => rig.close());

/** All of them begin before the end does, and would be done after it. */
it('lets nothing in that a command was still setting up', async () => {
  const { dispatcher, storage } = rig;
  const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
  const begun = [
    dispatcher.call('nbd-server-start', { addr }),
    dispatcher.call('blockdev-add', { driver: 'x-memory', 'node-name': 'n', size: 512 }),
  ];
  const ends = Promise.allSettled(begun);
  await storage.close();
  const reasons = (await ends).map((end) => end.status === 'rejected' && `${end.reason}`);
  expect(reasons).toEqual([
    expect.stringContaining('No server is started while the daemon is closing'),
    expect.stringContaining('No node is opened while the daemon is closing'),
  ]);
  expect(storage.nbd.server).toBe(undefined);
  expect(storage.graph.nodes()).toEqual([]);
});

it('starts no job once the last ones are being cancelled', async () => {
  const { dispatcher, storage } = rig;
  for (const name of ['a', 'b']) {
    await dispatcher.call('blockdev-add', { driver: 'x-memory', 'node-name': name, size: 512 });
  }
  await storage.jobs.close();
  const pair = { device: 'a', target: 'b', sync: 'full' } as const;
  const started = dispatcher.call('blockdev-mirror', { 'job-id': 'm0', ...pair });
  await expect(started).rejects.toThrow('No job is started while the daemon is closing');
  expect(storage.graph.nodes().map((node) => node.name)).toEqual(['a', 'b']);
});

it('takes no commands once closing has begun', async () => {
  const client = await rig.connect();
  const closed = rig.dispatcher.close();
  await client.send('{"execute":"query-block-jobs"}{"execute":"nope"}');
  await closed;
  const desc = 'The daemon is closing: the command query-block-jobs comes too late';
  expect(client.received).toEqual([
    { error: { class: 'GenericError', desc } },
    { error: { class: 'CommandNotFound', desc: 'The command nope has not been found' } },
  ]);
});

it('waits for what a command sets up that was taken before', async () => {
  const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
  const started = rig.dispatcher.call('nbd-server-start', { addr });
  expect(rig.storage.nbd.server).toBe(undefined);
  await rig.dispatcher.close();
  expect(rig.storage.nbd.server).not.toBe(undefined);
  await started;
});
