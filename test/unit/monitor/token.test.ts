import { beforeEach, describe, expect, it } from 'vitest';
import { Monitor } from '../../../src/monitor/monitor.ts';
import { Token } from '../../../src/monitor/token.ts';
import {
  QMP_STRANGER_BYTES_MAX,
  QMP_STRANGER_FAILURES_MAX,
  QMP_STRANGER_MS_MAX,
  QMP_STRANGERS_MAX,
} from '../../../src/util/limits.ts';
import { silentLog } from '../../../src/util/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeConnection } from '../../support/fake-connection.ts';
import { makeMonitorRig } from '../../support/monitor-rig.ts';

const SECRET = 'correct-horse-battery';
const token = Token.parse(SECRET);
const show = (secret: string) =>
  `{"execute":"qmp_capabilities","arguments":{"x-token":"${secret}"}}`;
const desc = "This monitor takes its token as 'x-token' of qmp_capabilities";
const refused = { error: { class: 'GenericError', desc } };

describe('a monitor with a token', () => {
  let clock: FakeClock;
  let monitor: Monitor;

  beforeEach(() => {
    clock = new FakeClock();
    monitor = new Monitor({ dispatcher: makeMonitorRig().dispatcher, clock, log: silentLog });
  });

  function visit(): FakeConnection {
    const client = new FakeConnection();
    monitor.serve(client, token);
    client.received.length = 0;
    return client;
  }

  it('serves who shows it, for as long as they like', async () => {
    const client = visit();
    await client.send(show(SECRET), '{"execute":"query-block-jobs"}', ' '.repeat(1 << 20));
    clock.advance(QMP_STRANGER_MS_MAX);
    expect(client.received).toEqual([{ return: {} }, { return: [] }]);
    expect(client.isClosed).toBe(false);
  });

  it('lets a stranger do nothing, and go after some tries', async () => {
    const client = visit();
    await client.send('{"execute":"query-block-jobs"}');
    expect(client.received.splice(0)).toHaveLength(1);
    await client.send('{"execute":"qmp_capabilities"}');
    for (let tries = 1; tries < QMP_STRANGER_FAILURES_MAX; tries++) {
      expect(client.isClosed).toBe(false);
      await client.send(show('correct-horse-batterx'));
    }
    expect(client.received).toEqual(Array(QMP_STRANGER_FAILURES_MAX).fill(refused));
    expect(client.isClosed).toBe(true);
    await client.send(show(SECRET));
    expect(client.received.length).toBe(QMP_STRANGER_FAILURES_MAX);
  });

  it('does not answer what is no message more often than that', async () => {
    const client = visit();
    await client.send('}'.repeat(100));
    expect(client.received).toHaveLength(QMP_STRANGER_FAILURES_MAX);
    expect(client.isClosed).toBe(true);
  });

  it('tells a stranger no events', async () => {
    const rig = makeMonitorRig();
    const client = new FakeConnection();
    rig.monitor.serve(client, token);
    await client.send('{"execute":"qmp_capabilities"}');
    client.received.length = 0;
    rig.storage.events.emit('BLOCK_EXPORT_DELETED', { id: 'e' });
    expect(client.received).toEqual([]);
    await rig.close();
  });

  it('does not wait for a stranger for ever', async () => {
    const client = visit();
    clock.advance(QMP_STRANGER_MS_MAX - 1);
    expect(client.isClosed).toBe(false);
    clock.advance(1);
    expect(client.isClosed).toBe(true);
  });

  it('does not listen to a stranger for ever', async () => {
    const client = visit();
    await client.send('['.repeat(1000), ' '.repeat(QMP_STRANGER_BYTES_MAX - 1000));
    expect(client.isClosed).toBe(false);
    await client.send(' ');
    expect(client.isClosed).toBe(true);
  });

  it('turns strangers away when there are many, and nobody else', async () => {
    const strangers = Array.from({ length: QMP_STRANGERS_MAX }, visit);
    expect(visit().isClosed).toBe(true);
    const local = new FakeConnection();
    monitor.serve(local);
    expect(local.isClosed).toBe(false);
    await strangers[0]!.send(show(SECRET));
    expect(visit().isClosed).toBe(false);
  });
});
