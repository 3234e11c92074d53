import { randomBytes } from 'node:crypto';
import { statfsSync, writeSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { REQUEST_BYTES } from '../../../protocol/nbd/transmission.ts';
import type { FileBytes, TakingSocket } from '../../../src/util/file-bytes.ts';
import { MiB } from '../../../src/util/limits.ts';
import { openFileNode } from '../../conformance/make-file-node.ts';
import { connectionPair } from '../../support/connection-pair.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { mustRun, pause } from '../../support/process.ts';

const DATA = randomBytes(3 * MiB);
const HEAD = Buffer.from('head');
const NO_HEAD = Buffer.alloc(0);
/** Nothing leaves the page cache where it is all there is (tmpfs). */
const isMemory = statfsSync(tmpdir()).type === 0x01021994;

/** The bytes of a file that was just written, and so is in the page cache. */
async function fileBytes(offset: number, length: number): Promise<FileBytes> {
  const filename = join(await tempDir(), 'disk.raw');
  await writeFile(filename, DATA);
  const node = await openFileNode(filename, true);
  currentScope().onClose(() => node.close());
  const bytes = node.fileBytes(offset, length, true);
  if (bytes === undefined) throw new Error('the file is not in the page cache');
  return bytes;
}

/** How many bytes went past memory, besides what `bytes` does. */
function counting(bytes: FileBytes): FileBytes & { direct: number } {
  const counted = {
    ...bytes,
    direct: 0,
    sendTo(socket: TakingSocket, head: Buffer, start: number): number {
      const sent = bytes.sendTo(socket, head, start);
      counted.direct += Math.max(0, sent - head.length);
      return sent;
    },
  };
  return counted;
}

async function receive(peer: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  for await (const chunk of peer) {
    chunks.push(chunk);
    received += chunk.length;
    if (received >= length) break;
  }
  return Buffer.concat(chunks);
}

describe('bytes of a file', () => {
  it('go out in order with what is written before and after, to a peer that is slow', async () => {
    const { connection, peer } = await connectionPair();
    const bytes = counting(await fileBytes(0, DATA.length));
    const told: string[] = [];
    connection.write(Buffer.from('<'), () => told.push('before'));
    connection.writeFile(HEAD, bytes, () => told.push('file'));
    connection.write(Buffer.from('|'), () => told.push('between'));
    const second = counting(await fileBytes(4096, MiB));
    connection.writeFile(Buffer.from('second'), second, () => told.push('second file'));
    connection.write(Buffer.from('>'), () => told.push('after'));
    connection.end();
    await pause(20);
    expect(told).not.toContain('file');
    const expected = Buffer.concat([
      Buffer.from('<'),
      HEAD,
      DATA,
      Buffer.from('|second'),
      DATA.subarray(4096, 4096 + MiB),
      Buffer.from('>'),
    ]);
    expect((await receive(peer, expected.length)).equals(expected)).toBe(true);
    await pause(5);
    expect(told).toEqual(['before', 'file', 'between', 'second file', 'after']);
    expect(bytes.direct).toBeGreaterThan(DATA.length / 2);
  });

  it('go out in order over TCP as well, whatever fits', async () => {
    const { connection, peer } = await connectionPair(undefined, 'inet');
    const bytes = await fileBytes(100, DATA.length - 100);
    const ways = new Set<boolean>();
    let direct = 0;
    const watched: FileBytes = {
      ...bytes,
      sendTo(socket, head, start) {
        ways.add(socket.isLoopbackTcp);
        const sent = bytes.sendTo(socket, head, start);
        direct += Math.max(0, sent - head.length);
        return sent;
      },
    };
    // More than sockets hold.
    const times = 30;
    for (let i = 0; i < times; i++) connection.writeFile(HEAD, watched, () => {});
    connection.end();
    await pause(20);
    const one = Buffer.concat([HEAD, DATA.subarray(100)]);
    const received = await receive(peer, times * one.length);
    expect(received.equals(Buffer.concat(Array(times).fill(one)))).toBe(true);
    expect([...ways]).toEqual([true]);
    expect(direct).toBeGreaterThan((times * one.length) / 2);
  });

  it('that fit at once are not waited for', async () => {
    const { connection, peer } = await connectionPair();
    const length = 65536;
    let told = 0;
    const bytes = await fileBytes(0, length);
    expect(connection.writeFile(HEAD, bytes, () => told++)).toBe(true);
    const expected = Buffer.concat([HEAD, DATA.subarray(0, length)]);
    expect((await receive(peer, expected.length)).equals(expected)).toBe(true);
    await pause(5);
    expect(told).toBe(0);
  });

  it('follow their head, however little of it fits', async () => {
    const { connection, peer } = await connectionPair();
    const bytes = await fileBytes(0, 65536);
    let tries = 0;
    // Part of the head, none of it, then what comes.
    const tight: FileBytes = {
      ...bytes,
      sendTo(socket, head, start) {
        if (tries++ > 0) return bytes.sendTo(socket, head, start);
        writeSync(socket.descriptor, head, 0, 3);
        return 3;
      },
    };
    expect(connection.writeFile(HEAD, tight, () => {})).toBe(false);
    const expected = Buffer.concat([HEAD, DATA.subarray(0, 65536)]);
    expect((await receive(peer, expected.length)).equals(expected)).toBe(true);
    expect(tries).toBe(2);
  });

  it('are not read any more when the connection is gone', async () => {
    const { connection, peer } = await connectionPair();
    peer.pause();
    let [reads, told] = [0, 0];
    const bytes: FileBytes = {
      length: MiB,
      failure: undefined,
      // As if the socket were always full.
      sendTo: () => 0,
      read: () => void reads++,
      end() {},
    };
    connection.write(Buffer.alloc(64 * MiB));
    for (let i = 0; i < 16; i++) connection.writeFile(HEAD, bytes, () => told++);
    const before = reads;
    connection.destroy();
    await expect.poll(() => told).toBe(16);
    expect(reads).toBe(before);
  });

  it('may be none: their head goes out all the same', async () => {
    const { connection, peer } = await connectionPair();
    connection.writeFile(HEAD, { ...(await fileBytes(0, MiB)), length: 0 }, () => {});
    expect((await receive(peer, HEAD.length)).equals(HEAD)).toBe(true);
  });

  it('are told of when what waits behind them has gone', async () => {
    const { connection, peer } = await connectionPair();
    const bytes = await fileBytes(0, DATA.length);
    connection.writeFile(NO_HEAD, bytes, () => connection.write(Buffer.from('at the end')));
    connection.write(Buffer.from('behind, '));
    const received = await receive(peer, DATA.length + 'behind, at the end'.length);
    expect(received.subarray(DATA.length).toString()).toBe('behind, at the end');
  });

  it('are none that a full socket takes, nor their head', async () => {
    const { connection, peer } = await connectionPair();
    const bytes = await fileBytes(0, DATA.length);
    const head = Buffer.alloc(REQUEST_BYTES);
    const lengths: number[] = [];
    const watched: FileBytes = {
      ...bytes,
      sendTo(socket) {
        // Until there is no room, not even for a head.
        for (;;) {
          const sent = bytes.sendTo(socket, head, 0);
          lengths.push(sent);
          if (sent === 0) return 0;
        }
      },
    };
    connection.writeFile(head, watched, () => {});
    expect(lengths.at(-1)).toBe(0);
    const total = lengths.reduce((sum, sent) => sum + sent, 0);
    expect(total).toBeGreaterThan(0);
    expect((await receive(peer, total)).length).toBeGreaterThanOrEqual(total);
  });

  it('are copied when none can be sent, and nothing is asked for behind them', async () => {
    const { connection, peer } = await connectionPair();
    const asked: number[] = [];
    const copied: FileBytes = {
      ...(await fileBytes(0, MiB)),
      sendTo(_socket, _head, start) {
        asked.push(start);
        return 0;
      },
    };
    connection.writeFile(HEAD, copied, () => {});
    const expected = Buffer.concat([HEAD, DATA.subarray(0, MiB)]);
    expect((await receive(peer, expected.length)).equals(expected)).toBe(true);
    await pause(5);
    expect(asked.length).toBeGreaterThan(1);
    expect(Math.max(...asked)).toBeLessThan(MiB);
  });

  it('that cannot be had any more become zeroes, and say why', async () => {
    const { connection, peer } = await connectionPair();
    const bytes = await fileBytes(0, MiB);
    const failure = new Error('the file has shrunk');
    const shrunk: FileBytes = {
      ...bytes,
      sendTo: () => 0,
      read(start, buffer) {
        if (start >= 65536) throw failure;
        return bytes.read(start, buffer);
      },
    };
    connection.writeFile(HEAD, shrunk, () => {});
    connection.write(Buffer.from('on'));
    const whole = await receive(peer, HEAD.length + MiB + 2);
    expect(whole.subarray(0, HEAD.length).equals(HEAD)).toBe(true);
    const received = whole.subarray(HEAD.length);
    expect(received.subarray(0, 65536).equals(DATA.subarray(0, 65536))).toBe(true);
    expect(received.subarray(65536, MiB).equals(Buffer.alloc(MiB - 65536))).toBe(true);
    expect(received.subarray(MiB).toString()).toBe('on');
    expect(shrunk.failure).toBe(failure);
  });

  it('end when the connection does, and so does what waits behind them', async () => {
    const { connection } = await connectionPair();
    let told = 0;
    connection.writeFile(HEAD, await fileBytes(0, DATA.length), () => told++);
    connection.write(Buffer.from('x'), () => told++);
    await pause(5);
    connection.destroy();
    await connection.closed;
    await pause(5);
    expect(told).toBe(2);
  });
});

describe('a file node', () => {
  it('offers what the page cache has, and no block of zeroes', async () => {
    const filename = join(await tempDir(), 'disk.raw');
    const zeroed = Buffer.from(DATA);
    zeroed.fill(0, MiB + 65536, MiB + 2 * 65536);
    await writeFile(filename, zeroed);
    const node = await openFileNode(filename, true);
    currentScope().onClose(() => node.close());
    expect(node.fileBytes(0, MiB, true)).toBeDefined();
    expect(node.fileBytes(MiB, MiB, true)).toBeUndefined();
    expect(node.fileBytes(2 * MiB, 4096, true)).toBeUndefined();
  });

  it.skipIf(isMemory)(
    'does not wait for what has left the page cache since (not on tmpfs)',
    async () => {
      const directory = await tempDir();
      const filename = join(directory, 'disk.raw');
      await writeFile(filename, DATA, { flush: true });
      const node = await openFileNode(filename, true);
      currentScope().onClose(() => node.close());
      const bytes = node.fileBytes(0, MiB, true)!;
      // A file takes everything at once, and so shows what is offered.
      const taker = await open(join(directory, 'taken'), 'w');
      currentScope().onClose(() => taker.close());
      const taking = { descriptor: taker.fd, isLoopbackTcp: false };
      expect(bytes.sendTo(taking, NO_HEAD, MiB / 2)).toBe(MiB / 2);
      await mustRun('dd', [`if=${filename}`, 'iflag=nocache', 'count=0', 'status=none']);
      expect(bytes.sendTo(taking, NO_HEAD, MiB / 2)).toBe(0);
      const copy = Buffer.alloc(4096);
      await bytes.read(MiB / 2, copy);
      expect(copy.equals(DATA.subarray(MiB / 2, MiB / 2 + 4096))).toBe(true);
    },
  );
});
