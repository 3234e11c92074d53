import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { InetAddress, SocketAddress } from '../../../src/net/address.ts';
import type { Connection } from '../../../src/net/connection.ts';
import { ConnectionLimit } from '../../../src/net/connection-limit.ts';
import { DialError, dial } from '../../../src/net/dial.ts';
import { bind, type Listener, listen } from '../../../src/net/listen.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { UsageError } from '../../../src/util/errors.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { mustRun } from '../../support/process.ts';

const LOOPBACK: SocketAddress = { type: 'inet', host: '127.0.0.1', port: 0 };
const PATIENCE = { clock: systemClock, timeoutMs: 5000 };

async function echo(address: SocketAddress): Promise<Listener> {
  const listener = await listen(address, {
    limit: new ConnectionLimit(Number.POSITIVE_INFINITY),
    onConnection: (connection) => {
      const answer = (question: Buffer) => connection.write(question);
      void connection
        .read(2)
        .then(answer, () => {})
        .finally(() => connection.end());
    },
  });
  currentScope().onClose(async () => listener.close());
  return listener;
}

async function answers(address: SocketAddress): Promise<boolean> {
  const connection = await dial(address, PATIENCE);
  connection.write(Buffer.from('hi'));
  const answer = await connection.read(2);
  connection.end();
  await connection.closed;
  return answer.toString() === 'hi';
}

describe('a listener', () => {
  it('on port 0 says which port it got', async () => {
    const { address } = await echo(LOOPBACK);
    expect((address as InetAddress).port).toBeGreaterThan(0);
    expect(await answers(address)).toBe(true);
  });

  it('goes on when the host had no room for somebody', async () => {
    const { server } = await bind(LOOPBACK, () => createServer());
    currentScope().onClose(async () => void server.close());
    expect(() => server.emit('error', new Error('accept ENFILE'))).not.toThrow();
    expect(server.listening).toBe(true);
  });

  it('has no abstract name', async () => {
    const listening = echo({ type: 'unix', path: '\0name' });
    await expect(listening).rejects.toThrow(
      new UsageError('Cannot listen on a Unix socket: its path contains NUL'),
    );
  });

  it('hands out the descriptors of those who come by a Unix socket', async () => {
    const descriptors: number[] = [];
    const options = {
      limit: new ConnectionLimit(Number.POSITIVE_INFINITY),
      onUnixSocket: (fd: number) => descriptors.push(fd),
      onConnection: (connection: Connection) => connection.end(),
    };
    for (const address of [{ type: 'unix', path: join(await tempDir(), 's') } as const, LOOPBACK]) {
      const listener = await listen(address, options);
      currentScope().onClose(async () => listener.close());
      const connection = await dial(listener.address, PATIENCE);
      connection.end();
      await connection.closed;
    }
    expect(descriptors).toEqual([expect.any(Number)]);
  });

  it('takes the first free port of a range, and says when there is none', async () => {
    const { port } = (await echo(LOOPBACK)).address as InetAddress;
    const second = await echo({ type: 'inet', host: '127.0.0.1', port, portMax: port + 50 });
    expect((second.address as InetAddress).port).toBeGreaterThan(port);
    expect(await answers(second.address)).toBe(true);
    await expect(echo({ type: 'inet', host: '127.0.0.1', port, portMax: port })).rejects.toThrow(
      `Cannot listen on 127.0.0.1:${port}: the address is in use`,
    );
  });

  it('on a Unix socket takes its file away when it closes', async () => {
    const path = join(await tempDir(), 'socket');
    const listener = await echo({ type: 'unix', path });
    expect(await answers(listener.address)).toBe(true);
    listener.close();
    expect(existsSync(path)).toBe(false);
  });

  it('replaces the socket of a process that has died', async () => {
    const path = join(await tempDir(), 'socket');
    const script =
      `require('net').createServer().listen(${JSON.stringify(path)}, ` +
      '() => process.kill(process.pid, 9))';
    await mustRun('sh', ['-c', 'node -e "$1" || true', 'sh', script]);
    expect(existsSync(path)).toBe(true);
    expect(await answers((await echo({ type: 'unix', path })).address)).toBe(true);
  });

  it('leaves a socket that somebody listens on', async () => {
    const path = join(await tempDir(), 'socket');
    const first = await echo({ type: 'unix', path });
    const second = echo({ type: 'unix', path });
    await expect(second).rejects.toThrow(`Cannot listen on unix:${path}: the address is in use`);
    await expect(second).rejects.toBeInstanceOf(UsageError);
    expect(await answers(first.address)).toBe(true);
  });

  it('leaves a file that is no socket', async () => {
    const path = join(await tempDir(), 'disk.raw');
    writeFileSync(path, 'precious');
    await expect(echo({ type: 'unix', path })).rejects.toThrow(path);
    expect(existsSync(path)).toBe(true);
  });

  it('names the port that is in use', async () => {
    const { address } = await echo(LOOPBACK);
    const { port } = address as InetAddress;
    const message = `Cannot listen on 127.0.0.1:${port}: the address is in use`;
    await expect(echo(address)).rejects.toThrow(message);
  });
});

describe('dialling', () => {
  it('says why nobody answers', async () => {
    const path = join(await tempDir(), 'nothing');
    const dialling = dial({ type: 'unix', path }, PATIENCE);
    await expect(dialling).rejects.toThrow(
      `Cannot connect to unix:${path}: there is no such socket`,
    );
    await expect(dialling).rejects.toBeInstanceOf(DialError);
    const listener = await echo(LOOPBACK);
    listener.close();
    await expect(dial(listener.address, PATIENCE)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('gives up when told to', async () => {
    const { address } = await echo(LOOPBACK);
    const signal = AbortSignal.abort();
    await expect(dial(address, { ...PATIENCE, signal })).rejects.toMatchObject({
      code: 'ECANCELED',
    });
  });

  it('gives up when the time is over', async () => {
    const { address } = await echo(LOOPBACK);
    const clock = {
      ...systemClock,
      after(_delayMs: number, callback: () => void) {
        queueMicrotask(callback);
        return { cancel() {} };
      },
    };
    const [timed] = await Promise.allSettled([dial(address, { clock, timeoutMs: 1 })]);
    expect(timed).toMatchObject({ status: 'rejected', reason: { code: 'ETIMEDOUT' } });
  });
});
