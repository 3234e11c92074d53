import { beforeEach, describe, expect, it } from 'vitest';
import { QmpSession } from '../../../src/monitor/session.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { QMP_QUEUE_MAX } from '../../../src/util/limits.ts';
import { silentLog } from '../../../src/util/log.ts';
import { FakeConnection, settle } from '../../support/fake-connection.ts';

const version = { qemu: { micro: 3, minor: 2, major: 1 }, package: 'p' };
const inBand = (name: string) => `{"execute":"${name}"}`;
const outOfBand = (name: string) => `{"exec-oob":"${name}"}`;

describe('commands out of band', () => {
  let client: FakeConnection;
  let begun: string[];
  let finish: Map<string, () => void>;

  /** Commands in band run until they are told to finish; others end at once. */
  function execute(command: string, _given: object, isOutOfBand: boolean): Promise<unknown> {
    begun.push(command);
    if (isOutOfBand) return Promise.resolve({ command });
    return new Promise((resolve) => {
      finish.set(command, () => resolve({ command }));
    });
  }

  async function end(command: string): Promise<void> {
    finish.get(command)!();
    await settle();
  }

  async function negotiate(enable: string): Promise<void> {
    await client.send(`{"execute":"qmp_capabilities","arguments":{"enable":[${enable}]}}`);
    client.received.length = 0;
  }

  beforeEach(() => {
    client = new FakeConnection();
    begun = [];
    finish = new Map();
    new QmpSession(client, { version, execute, clock: systemClock, log: silentLog });
  });

  it('overtake what waits and what runs', async () => {
    await negotiate('"oob"');
    await client.send(inBand('a') + inBand('b') + outOfBand('now'));
    expect(begun).toEqual(['a', 'now']);
    expect(client.received).toEqual([{ return: { command: 'now' } }]);
    expect(client.isPaused).toBe(false);
    await end('a');
    await end('b');
    expect(client.received.slice(1)).toEqual([
      { return: { command: 'a' } },
      { return: { command: 'b' } },
    ]);
  });

  it('wait too once the queue is full, and nothing is read then', async () => {
    await negotiate('"oob"');
    const names = Array.from({ length: QMP_QUEUE_MAX + 1 }, (_, index) => `c${index}`);
    await client.send(names.slice(0, -1).map(inBand).join(''));
    expect(client.isPaused).toBe(false);
    await client.send(inBand(names.at(-1)!) + outOfBand('now'));
    expect(begun).toEqual(['c0']);
    expect(client.isPaused).toBe(true);
    await end('c0');
    expect(begun).toEqual(['c0', 'c1', 'now']);
    expect(client.isPaused).toBe(false);
  });

  it('are no members of a request before they are enabled, and keep their place', async () => {
    await negotiate('');
    await client.send(inBand('a') + outOfBand('now'));
    expect(client.received).toEqual([]);
    expect(client.isPaused).toBe(true);
    await end('a');
    const desc = "QMP input member 'exec-oob' is unexpected";
    expect(client.received).toEqual([
      { return: { command: 'a' } },
      { error: { class: 'GenericError', desc } },
    ]);
  });

  it('are all answered before a client that has ended is let go', async () => {
    await negotiate('"oob"');
    await client.send(inBand('a') + inBand('b') + outOfBand('now'));
    await client.sendEnd();
    await end('a');
    expect(client.isClosed).toBe(false);
    await end('b');
    expect(client.received.length).toBe(3);
    expect(client.isClosed).toBe(true);
  });
});
