import { describe, expect, it } from 'vitest';
import { QmpError } from '../../../protocol/qmp/error.ts';
import { QmpSession } from '../../../src/monitor/session.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { QMP_TURN_MESSAGES_MAX } from '../../../src/util/limits.ts';
import { silentLog } from '../../../src/util/log.ts';
import { FakeConnection, settle } from '../../support/fake-connection.ts';

const version = { qemu: { micro: 3, minor: 2, major: 1 }, package: 'p' };

function makeSession(execute: (command: string, given: object) => Promise<unknown>) {
  const client = new FakeConnection();
  const session = new QmpSession(client, { version, execute, clock: systemClock, log: silentLog });
  return { client, session };
}

const echo = async (command: string, given: object) => ({ command, given });
const NEGOTIATE = '{"execute":"qmp_capabilities"}';

describe('a QMP session', () => {
  it('greets at once', () => {
    const { client } = makeSession(echo);
    expect(client.received).toEqual([{ QMP: { version, capabilities: ['oob'] } }]);
  });

  it('takes nothing but qmp_capabilities first, and that once', async () => {
    const { client } = makeSession(echo);
    client.received.length = 0;
    await client.send(
      '{"execute":"a"}',
      '{"execute":"qmp_capabilities","arguments":{"enable":["x"]}}',
    );
    await client.send('{"execute":"qmp_capabilities","id":1}', '{"execute":"qmp_capabilities"}');
    const error = (desc: string) => ({ error: { class: 'CommandNotFound', desc } });
    expect(client.received).toEqual([
      error("Expecting capabilities negotiation with 'qmp_capabilities'"),
      {
        error: { class: 'GenericError', desc: "Parameter 'null' does not accept value 'x'" },
      },
      { return: {}, id: 1 },
      error('Capabilities negotiation is already complete, command ignored'),
    ]);
  });

  it('echoes any id, also in errors', async () => {
    const { client } = makeSession(async () => {
      throw new QmpError('no', 'DeviceNotActive');
    });
    await client.send(NEGOTIATE);
    client.received.length = 0;
    await client.send('{"execute":"a","id":{"b":[1,null]}} {"execute":1,"id":"x"} [1]');
    expect(client.received).toEqual([
      { id: { b: [1, null] }, error: { class: 'DeviceNotActive', desc: 'no' } },
      {
        id: 'x',
        error: { class: 'GenericError', desc: "QMP input member 'execute' must be a string" },
      },
      { error: { class: 'GenericError', desc: 'QMP input must be a JSON object' } },
    ]);
  });

  it('lets others have their turn between messages that came together', async () => {
    const { client } = makeSession(echo);
    await client.send(NEGOTIATE);
    client.received.length = 0;
    const rounds = 10;
    const messages = rounds * QMP_TURN_MESSAGES_MAX;
    let turns = 0;
    const sent = client.send('{"execute":"a"}'.repeat(messages / 2), '}'.repeat(messages / 2));
    while (client.received.length < messages) {
      await new Promise(setImmediate);
      turns++;
    }
    await sent;
    expect(turns).toBeGreaterThanOrEqual(rounds - 1);
    await client.send('{"execute":"b"}');
    expect(client.received.slice(messages)).toEqual([{ return: { command: 'b', given: {} } }]);
    expect(client.isPaused).toBe(false);
  });

  it('survives garbage', async () => {
    const { client } = makeSession(echo);
    await client.send(NEGOTIATE);
    client.received.length = 0;
    await client.send('{"execute":\u0001', '{"execute":"a"}');
    expect(client.received).toEqual([
      { error: { class: 'GenericError', desc: "JSON parse error, stray '\u0001'" } },
      { return: { command: 'a', given: {} } },
    ]);
  });

  it('runs one command at a time, reads nothing meanwhile, and answers in order', async () => {
    const begun: string[] = [];
    const finish: (() => void)[] = [];
    const { client } = makeSession((command) => {
      begun.push(command);
      return new Promise((resolve) => finish.push(() => resolve({ command })));
    });
    await client.send(NEGOTIATE);
    client.received.length = 0;
    await client.send('{"execute":"a"}{"execute":"b"}');
    expect(begun).toEqual(['a']);
    expect(client.isPaused).toBe(true);
    finish[0]!();
    await settle();
    expect(begun).toEqual(['a', 'b']);
    finish[1]!();
    await settle();
    expect(client.received).toEqual([{ return: { command: 'a' } }, { return: { command: 'b' } }]);
    expect(client.isPaused).toBe(false);
  });

  it('answers what it was sent before it ends behind a client that has ended', async () => {
    const { client } = makeSession(echo);
    await client.send(NEGOTIATE);
    client.received.length = 0;
    void client.send('{"execute":"a"}{"execute":"b"}');
    await client.sendEnd();
    expect(client.received.length).toBe(2);
    expect(client.isClosed).toBe(true);
  });

  it('tells events only after negotiation', async () => {
    const { client, session } = makeSession(echo);
    client.received.length = 0;
    session.notify(Buffer.from('{"event": "early"}\r\n'));
    await client.send(NEGOTIATE);
    session.notify(Buffer.from('{"event": "late"}\r\n'));
    expect(client.received).toEqual([{ return: {} }, { event: 'late' }]);
  });
});
