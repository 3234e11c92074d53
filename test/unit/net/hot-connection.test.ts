import { once } from 'node:events';
import type { Socket } from 'node:net';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Connection } from '../../../src/net/connection.ts';
import { descriptorOf } from '../../../src/net/descriptor.ts';
import { HotSockets } from '../../../src/net/hot-sockets.ts';
import type { ByteSink } from '../../../src/net/incoming.ts';
import { linuxSyscalls } from '../../../src/sys/linux.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { MiB } from '../../../src/util/limits.ts';
import type { SocketCalls } from '../../../src/util/socket-calls.ts';
import { connectionPair } from '../../support/connection-pair.ts';
import { pause } from '../../support/process.ts';

/** Bytes that came past the event loop, and went. */
let receivedBytes: number;
/** Calls of `wait` that found something for the event loop. */
let loopReady: number;
let beforeWait: () => void;
let counted: SocketCalls;
let sentBytes: number;
let hotSockets: HotSockets;
let connection: Connection;
let peer: Socket;

beforeEach(async () => {
  receivedBytes = 0;
  sentBytes = 0;
  loopReady = 0;
  beforeWait = () => {};
  const calls = linuxSyscalls().sockets!;
  counted = {
    ...calls,
    receive(socket, buffer) {
      const bytes = calls.receive(socket, buffer);
      receivedBytes += bytes;
      return bytes;
    },
    send(socket, data) {
      const bytes = calls.send(socket, data);
      sentBytes += bytes;
      return bytes;
    },
    wait(sockets, waitMs) {
      beforeWait();
      const found = calls.wait(sockets, waitMs);
      if (calls.isLoopReady()) loopReady++;
      return found;
    },
  };
  hotSockets = new HotSockets(systemClock, counted, true);
  ({ connection, peer } = await connectionPair(hotSockets));
});

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(1);
}

/** Byte `i` of the stream is `i % 251`. */
function streamBytes(from: number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (from + i) % 251));
}

const SHORT = 100;
const LONG = 50_000;
const GARBAGE = 0xee;

/**
 * Messages of which every tenth is long and has a place of its own, which is checked, given back
 * and must not be written to after that.
 */
class Messages implements ByteSink {
  bytes = 0;
  isEnded = false;
  wrongBytes = 0;
  #message = 0;
  #missing = SHORT;
  #place: Buffer | undefined;
  readonly given: Buffer[] = [];

  push(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length; ) {
      const taken = Math.min(this.#missing, chunk.length - at);
      if (this.#place === undefined) this.#check(chunk.subarray(at, at + taken), this.bytes);
      else chunk.copy(this.#place, LONG - this.#missing, at, at + taken);
      at += taken;
      this.#took(taken);
    }
    return false;
  }

  room(): Buffer | undefined {
    return this.#place?.subarray(LONG - this.#missing);
  }

  filled(bytes: number): void {
    this.#took(bytes);
  }

  end(): void {
    this.isEnded = true;
  }

  #took(bytes: number): void {
    this.bytes += bytes;
    this.#missing -= bytes;
    if (this.#missing > 0) return;
    if (this.#place !== undefined) {
      this.#check(this.#place, this.bytes - LONG);
      this.given.push(this.#place.fill(GARBAGE));
    }
    this.#message++;
    const isLong = this.#message % 10 === 9;
    this.#missing = isLong ? LONG : SHORT;
    this.#place = isLong ? Buffer.alloc(LONG) : undefined;
  }

  #check(bytes: Buffer, from: number): void {
    if (!bytes.equals(streamBytes(from, bytes.length))) this.wrongBytes += bytes.length;
  }
}

class Last implements ByteSink {
  received = '';
  isEnded = false;
  onPush = () => {};
  push(chunk: Buffer): boolean {
    this.received += chunk.toString();
    this.onPush();
    return false;
  }
  room(): Buffer | undefined {
    return undefined;
  }
  filled(): void {}
  end(): void {
    this.isEnded = true;
  }
}

describe('a connection whose socket is hot now and then', () => {
  it('delivers everything in order, and long messages where they belong', async () => {
    const messages = new Messages();
    connection.takeOver(messages);
    let sent = 0;
    for (let turn = 0; turn < 3000; turn++) {
      const length = 1 + ((turn * 7919) % 4000);
      peer.write(streamBytes(sent, length));
      sent += length;
      if (turn % 50 === 0) await pause(2);
      else if (turn % 5 > 0) await nextTurn();
    }
    await until(() => messages.bytes === sent);
    expect(messages.wrongBytes).toBe(0);
    expect(connection.bytesReceived).toBe(sent);
    expect(receivedBytes).toBeGreaterThan(sent / 100);
    expect(receivedBytes).toBeLessThan(sent);
    const garbage = Buffer.alloc(LONG, GARBAGE);
    expect(messages.given.length).toBeGreaterThan(50);
    expect(messages.given.every((place) => place.equals(garbage))).toBe(true);
  });

  it('leaves long messages to the event loop', async () => {
    connection.takeOver(new Messages());
    const shortBytes = 9 * SHORT;
    for (let at = 0; at < shortBytes + LONG; at += SHORT) {
      peer.write(streamBytes(at, SHORT));
      await nextTurn();
    }
    await until(() => connection.bytesReceived === shortBytes + LONG);
    expect(receivedBytes).toBeGreaterThan(0);
    expect(receivedBytes).toBeLessThan(shortBytes + LONG / 10);
  });

  it('is told of the end', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    // At once after an answer, so while the socket is hot.
    sink.onPush = () => {
      sink.onPush = () => {};
      peer.end('end');
    };
    peer.write('begin');
    await until(() => sink.isEnded);
    expect(sink.received).toBe('beginend');
  });

  it('is told when the peer broke it', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    sink.onPush = () => peer.destroy();
    peer.write('begin');
    await until(() => sink.isEnded || connection.isClosed);
    connection.write(Buffer.alloc(1));
    await pause(1);
    connection.write(Buffer.alloc(1));
    expect((await connection.closed)?.message).toContain('EPIPE');
  });

  it('is told that the peer has reset it', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    sink.onPush = () => {
      // That the peer closes without having read it makes it a reset.
      connection.write(Buffer.alloc(1));
      peer.destroy();
    };
    peer.write('begin');
    expect(await connection.closed).toMatchObject({ code: 'ECONNRESET' });
  });

  it('reads nothing while it is paused', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    sink.onPush = () => {
      connection.pause();
      peer.write('more');
    };
    peer.write('first');
    await until(() => sink.received === 'first');
    await pause(20);
    expect(sink.received).toBe('first');
    sink.onPush = () => {};
    connection.resume();
    await until(() => sink.received === 'firstmore');
  });

  it('stays as it is when it is paused and resumed at once', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    const arrived = vi.spyOn(hotSockets, 'arrived');
    sink.onPush = () => {
      connection.pause();
      connection.resume();
      // It is there before the event loop looks for what it is to read.
      if (sink.received.length < 100) peer.write('x');
    };
    peer.write('x');
    await until(() => sink.received.length === 100);
    expect(receivedBytes).toBeGreaterThan(0);
    expect(arrived.mock.calls.length).toBeLessThan(5);
    sink.onPush = () => {};
    await pause(20);
    peer.write('more');
    await until(() => sink.received.endsWith('more'));
  });

  it('is read by one of the two when it was paused and resumed as it became hot', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    const arrived = vi.spyOn(hotSockets, 'arrived');
    sink.onPush = () => {
      // Node reads again in a moment, for it does not know.
      if (sink.received.length === 1) connection.pause();
      connection.resume();
      if (sink.received.length < 100) peer.write('x');
    };
    peer.write('x');
    await until(() => sink.received.length === 100);
    expect(arrived).toHaveBeenCalledTimes(1);
  });

  it('says nothing to the event loop while it is hot, and everything afterwards', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    for (let moment = 0; moment < 3; moment++) {
      sink.received = '';
      loopReady = 0;
      // Nothing is there when the event loop has its turn.
      beforeWait = () => {
        if (sink.received.length < 100) peer.write('x');
      };
      peer.write('x');
      await until(() => sink.received.length === 100);
      expect(loopReady).toBeLessThan(10);
      await pause(20);
    }
    peer.end('more');
    await until(() => sink.isEnded);
    expect(sink.received.endsWith('xmore')).toBe(true);
  });

  it('is read on after its stream was paused and resumed as it became hot', async () => {
    // One that sleeps at its second look, so behind a turn of the event loop.
    ({ connection, peer } = await connectionPair(new HotSockets(systemClock, counted, false)));
    const sink = new Last();
    connection.takeOver(sink);
    sink.onPush = () => {
      if (sink.received.length > 1) return;
      // Node reads again in a moment, for it does not know.
      connection.pause();
      connection.resume();
    };
    peer.write('x');
    let waits = 0;
    beforeWait = () => {
      if (++waits === 2) peer.write('y');
    };
    await until(() => sink.received === 'xy');
    await pause(20);
    peer.write('more');
    await until(() => sink.received === 'xymore');
  });

  it('is told of room though its socket has been hot meanwhile', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    let isWritten = false;
    connection.write(Buffer.alloc(8 * MiB), () => {
      isWritten = true;
    });
    expect(connection.unsentBytes).toBeGreaterThan(0);
    sink.onPush = () => {
      if (sink.received.length < 10) peer.write('x');
    };
    peer.write('x');
    await until(() => sink.received.length === 10);
    expect(receivedBytes).toBeGreaterThan(0);
    peer.resume();
    await until(() => isWritten);
  });

  it('goes while its socket is hot', async () => {
    const sink = new Last();
    connection.takeOver(sink);
    sink.onPush = () => {
      if (sink.received === 'first') peer.write('more');
      else connection.destroy();
    };
    const forget = vi.spyOn(hotSockets, 'forget');
    peer.write('first');
    expect(await connection.closed).toBeUndefined();
    expect(forget).toHaveBeenCalledWith(connection);
    await pause(5);
    expect(sink.received).toBe('firstmore');
  });
});

describe('what it writes', () => {
  it('is told to the event loop when it has to wait for room', async () => {
    const loopIsDue = vi.spyOn(hotSockets, 'loopIsDue');
    connection.write(Buffer.from('fits'));
    expect(loopIsDue).not.toHaveBeenCalled();
    connection.write(Buffer.alloc(8 * MiB));
    expect(loopIsDue).toHaveBeenCalledTimes(1);
  });

  it('is told to the event loop when it comes from a file', async () => {
    const loopIsDue = vi.spyOn(hotSockets, 'loopIsDue');
    let isSent = false;
    const bytes = {
      length: 3 * 65536,
      failure: undefined,
      // As if the socket were always full.
      sendTo: () => 0,
      read: (start: number, buffer: Buffer) => void streamBytes(start, buffer.length).copy(buffer),
      end() {},
    };
    const head = Buffer.from('head');
    connection.writeFile(head, bytes, () => {
      isSent = true;
    });
    expect(loopIsDue).toHaveBeenCalledTimes(1);
    peer.resume();
    await until(() => isSent);
    expect(loopIsDue.mock.calls.length).toBeGreaterThan(2);
    expect(connection.bytesSent).toBe(head.length + bytes.length);
  });

  it('goes past the stream as far as it fits, in order, and is told of later', async () => {
    let told = 0;
    let sent = 0;
    for (let i = 0; i < 400; i++) {
      const data = streamBytes(sent, 20_000);
      sent += data.length;
      connection.write(data, () => told++);
      expect(told).toBe(0);
    }
    expect(sentBytes).toBeGreaterThan(0);
    expect(sentBytes).toBeLessThan(sent);
    expect(connection.unsentBytes).toBeGreaterThan(0);
    const chunks: Buffer[] = [];
    peer.on('data', (chunk) => chunks.push(chunk));
    await until(() => told === 400);
    connection.end();
    await once(peer, 'end');
    expect(Buffer.concat(chunks).equals(streamBytes(0, sent))).toBe(true);
    expect(connection.bytesSent).toBe(sent);
  });

  it('does not go before what had to wait', async () => {
    const waiting = Buffer.alloc(8 * MiB, 'w');
    connection.write(waiting);
    expect(connection.unsentBytes).toBeGreaterThan(0);
    // Now there is room, but nobody who would tell has had a turn.
    const room = Buffer.alloc(1 * MiB);
    const taken = linuxSyscalls().sockets!.receive(descriptorOf(peer)!, room);
    expect(taken).toBeGreaterThan(0);
    connection.write(Buffer.from('behind'));
    let received = '';
    peer.setEncoding('latin1').on('data', (text) => {
      received += text;
    });
    await until(() => received.length === waiting.length - taken + 6);
    expect(received.endsWith('wbehind')).toBe(true);
  });

  it('waits for what goes together', async () => {
    const received: Buffer[] = [];
    peer.on('data', (chunk) => received.push(chunk));
    connection.together(() => {
      connection.write(Buffer.from('one '));
      connection.write(Buffer.from('two'));
      expect(sentBytes).toBe(0);
    });
    connection.write(Buffer.from(' three'));
    await until(() => Buffer.concat(received).length === 13);
    expect(Buffer.concat(received).toString()).toBe('one two three');
  });
});
