import { once } from 'node:events';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import koffi, { type LibraryHandle } from 'koffi';
import { expect, it } from 'vitest';
import { linuxSyscalls } from '../../../src/sys/linux.ts';
import { socketCalls } from '../../../src/sys/socket-calls.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { connectionPair } from '../../support/connection-pair.ts';

const calls = linuxSyscalls().sockets!;

interface Pair {
  readonly descriptor: number;
  readonly peer: Socket;
}

/** A connected socket that the event loop does not read, and who is at its other end. */
async function socket(): Promise<Pair> {
  const { connection, peer } = await connectionPair();
  if (peer.connecting) await once(peer, 'connect');
  connection.pause();
  let descriptor = -1;
  connection.take((open) => {
    descriptor = open;
    return 0;
  });
  return { descriptor, peer };
}

it('receives what is there, and nothing if nothing is there or it was the end', async () => {
  const { descriptor, peer } = await socket();
  const buffer = Buffer.alloc(10);
  expect(calls.receive(descriptor, buffer)).toBe(0);
  peer.write('fourteen bytes');
  expect(calls.receive(descriptor, buffer)).toBe(10);
  expect(buffer.toString()).toBe('fourteen b');
  expect(calls.receive(descriptor, buffer)).toBe(4);
  peer.end();
  await once(peer, 'finish');
  expect(calls.receive(descriptor, buffer)).toBe(0);
});

it('sends what fits', async () => {
  const { descriptor } = await socket();
  const data = Buffer.alloc(1_000_000);
  const sent = calls.send(descriptor, data);
  expect(sent).toBeGreaterThan(0);
  expect(sent).toBeLessThan(data.length);
  expect(calls.send(descriptor, data)).toBe(0);
});

it('throws what Node would tell of a broken socket', async () => {
  const { descriptor, peer } = await socket();
  // That the peer closes without having read it makes it a reset.
  calls.send(descriptor, Buffer.alloc(1_000_000));
  peer.destroy();
  await once(peer, 'close');
  const buffer = Buffer.alloc(1);
  expect(() => calls.receive(descriptor, buffer)).toThrow(
    expect.objectContaining({ code: 'ECONNRESET', syscall: 'read' }),
  );
  expect(() => calls.send(descriptor, buffer)).toThrow(
    expect.objectContaining({ code: 'EPIPE', syscall: 'write' }),
  );
});

it.each(['EAGAIN', 'EINTR', 'ENOBUFS'] as const)('takes %s for nothing yet', (code) => {
  const failing = () => {
    koffi.errno(constants.errno[code]);
    return -1;
  };
  const libc = {
    func: (signature: string) => (/ (recv|send)\(/.test(signature) ? failing : () => 0),
  } as unknown as LibraryHandle;
  const { receive, send } = socketCalls(libc);
  expect([receive(0, Buffer.alloc(1)), send(0, Buffer.alloc(1))]).toEqual([0, 0]);
});

it('waits until one of the sockets has something, and tells which', async () => {
  const [idle, busy] = [await socket(), await socket()];
  busy.peer.write('x');
  expect(calls.wait([idle, { descriptor: -1 }, busy], 1000)).toBe(true);
  // Below zero: nobody asks.
  expect([0, 1, 2].map((index) => calls.isReady(index))).toEqual([false, false, true]);
});

it('waits no longer than it is told, nor when the event loop has something to do', async () => {
  const { descriptor, peer } = await socket();
  // What else this process has to do may end it as well.
  await expect
    .poll(() => {
      const start = systemClock.now();
      const waited = !calls.wait([], 20) && systemClock.now() - start >= 19;
      return waited && !calls.isLoopReady();
    })
    .toBe(true);
  // The event loop reads the peer.
  calls.send(descriptor, Buffer.alloc(1));
  expect(calls.wait([{ descriptor: -1 }], 10_000)).toBe(true);
  expect([calls.isReady(0), calls.isLoopReady()]).toEqual([false, true]);
  expect(peer.bytesRead).toBe(0);
});
