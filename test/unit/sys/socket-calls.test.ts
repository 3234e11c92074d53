import { once } from 'node:events';
import type { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { linuxSyscalls } from '../../../src/sys/linux.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { connectionPair } from '../../support/connection-pair.ts';
import { pause } from '../../support/process.ts';

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

it('waits until one of the sockets has something, and tells which', async () => {
  const [idle, busy] = [await socket(), await socket()];
  await pause(20);
  busy.peer.write('x');
  expect(calls.wait([idle, busy], 1000)).toBe(true);
  expect([calls.isReady(0), calls.isReady(1)]).toEqual([false, true]);
  // Below zero: nobody asks.
  expect(calls.wait([{ descriptor: -1 }], 0)).toBe(false);
});

it('waits no longer than it is told, nor when the event loop has something to do', async () => {
  const { descriptor, peer } = await socket();
  await pause(20);
  const start = systemClock.now();
  expect(calls.wait([], 20)).toBe(false);
  expect(systemClock.now() - start).toBeGreaterThanOrEqual(19);
  // The event loop reads the peer.
  calls.send(descriptor, Buffer.alloc(1));
  expect(calls.wait([], 10_000)).toBe(true);
  expect(peer.bytesRead).toBe(0);
});
