import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { SocketPipe } from '../../../src/sys/socket-pipe.ts';
import { libc, libcWith } from '../../support/libc.ts';
import { tempDir } from '../../support/peers.ts';

const PAGE = 4096;
const DATA = Buffer.from(Array.from({ length: 5 * PAGE }, (_, at) => 1 + (at % 251)));
const NOTHING = Buffer.alloc(0);
const write = { hasEnded: false };
const opened: number[] = [];

afterEach(() => {
  for (const fd of opened.splice(0)) fs.closeSync(fd);
});

/** Two connected sockets. */
function socketPair(): [number, number] {
  const fds = new Int32Array(2);
  libc.func('int socketpair(int domain, int type, int protocol, void *fds)')(1, 1, 0, fds);
  opened.push(...fds);
  return [fds[0]!, fds[1]!];
}

async function openFile(): Promise<number> {
  const path = join(await tempDir(), 'file');
  fs.writeFileSync(path, Buffer.alloc(DATA.length));
  const fd = fs.openSync(path, 'r+');
  opened.push(fd);
  return fd;
}

function contentOf(fd: number): Buffer {
  const content = Buffer.alloc(DATA.length);
  fs.readSync(fd, content, 0, content.length, 0);
  return content;
}

describe('from a socket to a file', () => {
  it('goes all that belongs there, and nothing behind it', async () => {
    const pipe = new SocketPipe(libc, PAGE);
    const [socket, peer] = socketPair();
    const fd = await openFile();
    fs.writeSync(peer, DATA);
    const received = pipe.receive({ head: NOTHING, socket, write }, fd, 100, 2 * PAGE + 7);
    const bytes = 2 * PAGE + 7;
    expect(received).toEqual({ writtenBytes: bytes, takenBytes: bytes, unwritten: NOTHING });
    expect(
      contentOf(fd)
        .subarray(100, 100 + bytes)
        .equals(DATA.subarray(0, bytes)),
    ).toBe(true);
    expect(contentOf(fd)[100 + bytes]).toBe(0);
    const rest = Buffer.alloc(DATA.length);
    expect(fs.readSync(socket, rest)).toBe(DATA.length - bytes);
    expect(rest[0]).toBe(DATA[bytes]);
  });

  it('go whole pages until the range ends, and what was read already before them', async () => {
    const pipe = new SocketPipe(libc, PAGE);
    const [socket, peer] = socketPair();
    const fd = await openFile();
    const head = DATA.subarray(0, 100);
    fs.writeSync(peer, DATA.subarray(100, 2 * PAGE + 50));
    const first = pipe.receive({ head, socket, write }, fd, 0, DATA.length);
    const took = { writtenBytes: 2 * PAGE, takenBytes: 2 * PAGE - 100, unwritten: NOTHING };
    expect(first).toEqual(took);
    // 50 bytes of a page stay where they are.
    const none = { writtenBytes: 0, takenBytes: 0, unwritten: NOTHING };
    expect(pipe.receive({ head: NOTHING, socket, write }, fd, 2 * PAGE, 3 * PAGE)).toEqual(none);
    fs.writeSync(peer, DATA.subarray(2 * PAGE + 50));
    pipe.receive({ head: NOTHING, socket, write }, fd, 2 * PAGE, 3 * PAGE);
    expect(contentOf(fd).equals(DATA)).toBe(true);
  });

  it('comes back what the file does not take, and the next one finds the pipe empty', async () => {
    let toFile = 0;
    const splice = libc.func(
      'int64_t splice(int from, void *fromAt, int to, void *toAt, size_t bytes, uint32_t flags)',
    );
    // The file takes a page, and then no more.
    const failing = libcWith((declaration) =>
      declaration.includes(' splice(')
        ? (from, fromAt, to, toAt, bytes, flags) => {
            if (toAt === null) return splice(from, fromAt, to, toAt, bytes, flags);
            return toFile++ === 0 ? splice(from, fromAt, to, toAt, PAGE, flags) : -1;
          }
        : undefined,
    );
    const pipe = new SocketPipe(failing, PAGE);
    const [socket, peer] = socketPair();
    const fd = await openFile();
    fs.writeSync(peer, DATA.subarray(100));
    const received = pipe.receive(
      { head: DATA.subarray(0, 100), socket, write },
      fd,
      0,
      DATA.length,
    );
    expect(received.writtenBytes).toBe(PAGE);
    expect(received.takenBytes).toBe(DATA.length - 100);
    expect(received.unwritten.equals(DATA.subarray(PAGE))).toBe(true);
    toFile = 0;
    fs.writeSync(peer, Buffer.alloc(PAGE, 255));
    pipe.receive({ head: NOTHING, socket, write }, fd, PAGE, PAGE);
    expect(contentOf(fd)[PAGE]).toBe(255);
  });

  it('comes back what was read already, when the socket has less than it said', async () => {
    const empty = libcWith((declaration) =>
      declaration.includes(' splice(') ? () => -1 : undefined,
    );
    const pipe = new SocketPipe(empty, PAGE);
    const [socket, peer] = socketPair();
    const fd = await openFile();
    fs.writeSync(peer, DATA.subarray(100));
    const head = DATA.subarray(0, 100);
    const received = pipe.receive({ head, socket, write }, fd, 0, DATA.length);
    expect(received).toMatchObject({ writtenBytes: 0, takenBytes: 0 });
    expect(received.unwritten.equals(head)).toBe(true);
  });

  it('goes a part at a time, so that others have their turn', () => {
    const fast = libcWith((declaration) => {
      if (declaration.includes(' splice(')) return (...[, , , , bytes]) => bytes;
      if (!declaration.includes(' ioctl(')) return undefined;
      return (...[, , waiting]) => {
        (waiting as Int32Array)[0] = 64 << 20;
        return 0;
      };
    });
    const pipe = new SocketPipe(fast, PAGE);
    const received = pipe.receive({ head: NOTHING, socket: -1, write }, -1, 0, 64 << 20);
    expect(received.writtenBytes).toBeGreaterThan(0);
    expect(received.writtenBytes).toBeLessThanOrEqual(1 << 20);
  });
});
