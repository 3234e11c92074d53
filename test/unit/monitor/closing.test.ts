import { afterEach, beforeEach, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

let rig: MonitorRig;
beforeEach(() => {
  rig = makeMonitorRig();
});
afterEach(() => rig.close());

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
