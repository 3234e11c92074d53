import { expect, it } from 'vitest';
import { settle } from '../../support/fake-connection.ts';
import { makeMonitorRig } from '../../support/monitor-rig.ts';

it('tells every session the same events in order, before the reply of their cause', async () => {
  const rig = makeMonitorRig();
  const [one, two] = [await rig.connect(), await rig.connect()];
  const add = (id: string) => ({ type: 'nbd', id, 'node-name': 'disk', name: id });
  await rig.dispatcher.call('blockdev-add', {
    driver: 'x-memory',
    'node-name': 'disk',
    size: 1 << 20,
  });
  const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
  await rig.dispatcher.call('nbd-server-start', { addr });
  for (const id of ['e0', 'e1']) await rig.dispatcher.execute('block-export-add', add(id));

  await one.send('{"execute":"block-export-del","arguments":{"id":"e1"},"id":1}');
  await two.send('{"execute":"block-export-del","arguments":{"id":"e0"},"id":2}');
  await settle();
  const deleted = (id: string) =>
    expect.objectContaining({ event: 'BLOCK_EXPORT_DELETED', data: { id } });
  expect(one.received).toEqual([deleted('e1'), { return: {}, id: 1 }, deleted('e0')]);
  expect(two.received).toEqual([deleted('e1'), deleted('e0'), { return: {}, id: 2 }]);
  const { timestamp } = one.received[0] as { timestamp: Record<string, number> };
  expect(Number.isInteger(timestamp['seconds'])).toBe(true);
  expect(timestamp['microseconds']).toBeLessThan(1e6);
  await rig.close();
});
