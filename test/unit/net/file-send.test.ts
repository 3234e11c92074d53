import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Connection } from '../../../src/net/connection.ts';
import { ConnectionLimit } from '../../../src/net/connection-limit.ts';
import { listen } from '../../../src/net/listen.ts';
import type { FileBytes } from '../../../src/util/file-bytes.ts';
import { MiB } from '../../../src/util/limits.ts';
import { openFileNode } from '../../conformance/make-file-node.ts';
import { currentScope, tempDir } from '../../support/peers.ts';
import { pause } from '../../support/process.ts';

const DATA = randomBytes(3 * MiB);

/** A connection, and the socket at its other end, which is not read yet. */
async function pair(): Promise<{ connection: Connection; peer: Socket }> {
  const path = join(await tempDir(), 'socket');
  let onConnection: (connection: Connection) => void = () => {};
  const accepted = new Promise<Connection>((resolve) => {
    onConnection = resolve;
  });
  const limit = new ConnectionLimit(1);
  const listener = await listen({ type: 'unix', path }, { limit, onConnection });
  const peer = connect({ path, allowHalfOpen: true });
  const connection = await accepted;
  currentScope().onClose(async () => {
    peer.destroy();
    connection.destroy();
    listener.close();
  });
  return { connection, peer };
}

/** The bytes of a file that was just written, and so is in the page cache. */
async function fileBytes(offset: number, length: number): Promise<FileBytes> {
  const filename = join(await tempDir(), 'disk.raw');
  await writeFile(filename, DATA);
  const node = await openFileNode(filename, true);
  currentScope().onClose(() => node.close());
  const bytes = node.fileBytes(offset, length);
  if (bytes === undefined) throw new Error('the file is not in the page cache');
  return bytes;
}

/** How many bytes went past memory, besides what `bytes` does. */
function counting(bytes: FileBytes): FileBytes & { direct: number } {
  const counted = {
    ...bytes,
    direct: 0,
    sendTo(socket: number, start: number): number {
      const sent = bytes.sendTo(socket, start);
      counted.direct += sent;
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
    const { connection, peer } = await pair();
    const bytes = counting(await fileBytes(0, DATA.length));
    const told: string[] = [];
    connection.write(Buffer.from('<'), () => told.push('before'));
    connection.writeFile(bytes, () => told.push('file'));
    connection.write(Buffer.from('|'), () => told.push('between'));
    connection.writeFile(counting(await fileBytes(4096, MiB)), () => told.push('second file'));
    connection.write(Buffer.from('>'), () => told.push('after'));
    connection.end();
    await pause(20);
    expect(told).not.toContain('file');
    const expected = Buffer.concat([
      Buffer.from('<'),
      DATA,
      Buffer.from('|'),
      DATA.subarray(4096, 4096 + MiB),
      Buffer.from('>'),
    ]);
    expect((await receive(peer, expected.length)).equals(expected)).toBe(true);
    await pause(5);
    expect(told).toEqual(['before', 'file', 'between', 'second file', 'after']);
    expect(bytes.direct).toBeGreaterThan(DATA.length / 2);
  });

  it('that fit at once are told of later all the same', async () => {
    const { connection, peer } = await pair();
    const length = 65536;
    let isSent = false;
    connection.writeFile(await fileBytes(0, length), () => {
      isSent = true;
    });
    expect(isSent).toBe(false);
    expect(await receive(peer, length)).toEqual(DATA.subarray(0, length));
    expect(isSent).toBe(true);
  });

  it('that cannot be had any more become zeroes, and say why', async () => {
    const { connection, peer } = await pair();
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
    connection.writeFile(shrunk, () => {});
    connection.write(Buffer.from('on'));
    const received = await receive(peer, MiB + 2);
    expect(received.subarray(0, 65536)).toEqual(DATA.subarray(0, 65536));
    expect(received.subarray(65536, MiB).equals(Buffer.alloc(MiB - 65536))).toBe(true);
    expect(received.subarray(MiB).toString()).toBe('on');
    expect(shrunk.failure).toBe(failure);
  });

  it('end when the connection does, and so does what waits behind them', async () => {
    const { connection } = await pair();
    let told = 0;
    connection.writeFile(await fileBytes(0, DATA.length), () => told++);
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
    expect(node.fileBytes(0, MiB)).toBeDefined();
    expect(node.fileBytes(MiB, MiB)).toBeUndefined();
    expect(node.fileBytes(2 * MiB, 4096)).toBeUndefined();
  });
});
