import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { QmpClient } from '../../../src/cli/qmp-client.ts';
import type { Endpoint } from '../../../src/net/endpoint.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { UsageError } from '../../../src/util/errors.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { pause } from '../../support/process.ts';

/** The client of the command line, and servers that are no QMP servers. */
const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n';
const NBD_GREETING = 'NBDMAGICIHAVEOPT\0\x03';

/** Says this to whoever comes, bit by bit, and one of `replies` for each line that it gets. */
async function startServer(
  first: string | readonly string[],
  replies: readonly string[] = [],
): Promise<Endpoint> {
  const path = join(await tempDir(), 'qmp.sock');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const left = [...replies];
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', () => socket.write(left.shift() ?? ''));
    void writeBitByBit(socket, [first].flat());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  currentScope().onClose(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { address: { type: 'unix', path }, webSocket: false };
}

async function writeBitByBit(socket: Socket, bits: readonly string[]): Promise<void> {
  for (const bit of bits) {
    socket.write(bit);
    await pause(20);
  }
}

const connect = (endpoint: Endpoint) => QmpClient.connect(endpoint, systemClock);

describe('what is no QMP server is known at once', { timeout: 5000 }, () => {
  it.each([
    ['an NBD server, which ends no line', NBD_GREETING, '"NBDMAGICIHAVEOPT\\u0000\\u0003"'],
    ['one of another protocol of lines', 'SSH-2.0-OpenSSH_9.6\r\n', '"SSH-2.0-OpenSSH_9.6"'],
    ['one that says nothing in many words', `\r\n ${'x'.repeat(100)}`, `"${'x'.repeat(40)}"`],
    ['one that sends null', 'null\r\n', '"null"'],
    ['one that sends a number', '5\n', '"5"'],
    ['one that sends a string', '"QMP"\n', '"\\"QMP\\""'],
    ['one that sends a list', '[{"QMP": {}}]\n', '"[{\\"QMP\\": {}}]"'],
    ['one that sends half of JSON', '{"QMP": \n', '"{\\"QMP\\":"'],
  ])('%s', async (_what, first, shown) => {
    const endpoint = await startServer(first);
    const refused = connect(endpoint);
    await expect(refused).rejects.toThrow(UsageError);
    await expect(refused).rejects.toThrow(`does not speak QMP: it sent ${shown}`);
  });
});

it('says of who is silent that it may hang', async () => {
  const clock = new FakeClock();
  const refused = QmpClient.connect(await startServer(''), clock);
  refused.catch(() => {});
  // Long enough for a connection.
  await pause(100);
  clock.advance(10_000);
  await expect(refused).rejects.toThrow(
    /qmp\.sock has not greeted us within 10 s: it hangs, does not speak QMP, or has as many/,
  );
});

it('takes a greeting that comes bit by bit', async () => {
  const bits = ['\r\n', ' ', '{', '"QMP": {}', '}', '\r', '\n'];
  const client = await connect(await startServer(bits, ['{"return": {}}\n', '{"return": 7}\n']));
  expect(await client.execute('query-jobs')).toBe(7);
  client.close();
});

describe('an answer that is no message', { timeout: 5000 }, () => {
  it.each(['null', '7', '"return"', '[]', '{}', '{"error": null}', '{"error": {"class": "X"}}'])(
    'is one sentence: %s',
    async (answer) => {
      const endpoint = await startServer(GREETING, ['{"return": {}}\n', `${answer}\n`]);
      const client = await connect(endpoint);
      const refused = client.execute('query-jobs');
      await expect(refused).rejects.toThrow(UsageError);
      await expect(refused).rejects.toThrow(`it sent ${JSON.stringify(answer)}`);
    },
  );
});

it('says who has gone away, and what nobody knows of', { timeout: 5000 }, async () => {
  const path = join(await tempDir(), 'qmp.sock');
  const leaving = createServer((socket) => {
    socket.write(GREETING);
    socket.once('data', () => {
      socket.write('{"return": {}}\n');
      socket.once('data', () => socket.destroy());
    });
  });
  await new Promise<void>((resolve) => leaving.listen(path, resolve));
  currentScope().onClose(async () => void leaving.close());
  const client = await connect({ address: { type: 'unix', path }, webSocket: false });
  await expect(client.execute('job-complete', { id: 'm' })).rejects.toThrow(
    `unix:${path} has closed the connection without an answer to job-complete: it may have done it`,
  );
});

it('who waits for events is told as well', { timeout: 5000 }, async () => {
  const events: string[] = [];
  const said = '{"return": {}}\n{"event": "STOP"}\nnull\n{"event": "RESUME"}\n';
  const client = await QmpClient.connect(await startServer(GREETING, [said]), systemClock, {
    onEvent: ({ event }) => events.push(event),
  });
  await expect(client.closed).rejects.toThrow('does not speak QMP: it sent "null"');
  expect(events).toEqual(['STOP']);
});
