import fs from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import type { Arrived, Received } from '../util/arrived.ts';
import { KiB, MiB } from '../util/limits.ts';
import { systemError } from './system-error.ts';

/**
 * From a socket to a file by splice(2), which wants a pipe between the two. The way into the pipe
 * moves no bytes, only who owns their memory; the way out copies them into the page cache. So what
 * arrives is copied once, not twice, while it is still in the processor's cache.
 */
const O_NONBLOCK_CLOEXEC = 0o2004000;
const F_SETPIPE_SZ = 1031;
const FIONREAD = 0x541b;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
/** What anybody may have: room for 256 pieces of what a socket has got, of some KiB each. */
const PIPE_BYTES = MiB;
/** Node asks up to 32 times in a turn of the event loop: everybody else waits for that. */
const RECEIVED_BYTES_MAX = 256 * KiB;

type Splice = (
  from: number,
  fromOffset: null,
  to: number,
  toOffset: BigInt64Array | null,
  bytes: number,
  flags: number,
) => number;

export class SocketPipe {
  readonly #splice: Splice;
  readonly #ioctl: (fd: number, request: number, value: Int32Array) => number;
  readonly #pageBytes: number;
  /** Nothing is in it between two calls. */
  readonly #in: number;
  readonly #out: number;
  readonly #offset = new BigInt64Array(1);
  readonly #waiting = new Int32Array(1);

  constructor(libc: LibraryHandle, pageBytes: number) {
    this.#splice = libc.func(
      'int64_t splice(int from, void *fromAt, int to, void *toAt, size_t bytes, uint32_t flags)',
    );
    this.#ioctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)');
    this.#pageBytes = pageBytes;
    const pipe2 = libc.func('int pipe2(void *fds, int flags)');
    const fcntl = libc.func('int fcntl(int fd, int command, long argument)');
    const fds = new Int32Array(2);
    if (pipe2(fds, O_NONBLOCK_CLOEXEC) < 0) throw systemError('pipe2', koffi.errno());
    this.#out = fds[0]!;
    this.#in = fds[1]!;
    // A smaller one does as well, in more steps.
    fcntl(this.#in, F_SETPIPE_SZ, PIPE_BYTES);
  }

  /**
   * Writes the beginning of the range, as much as is there, but only whole pages of the file until
   * the range ends: for the rest of a page the kernel might have to wait for the disk.
   */
  receive({ head, socket }: Arrived, fd: number, offset: number, length: number): Received {
    const there = Math.min(head.length + this.#waitingAt(socket), RECEIVED_BYTES_MAX);
    const end = this.#wholePages(offset, length, there);
    if (end <= offset) return NOTHING;
    let at = offset;
    let inPipe = this.#put(head);
    if (inPipe < head.length) return NOTHING;
    let takenBytes = 0;
    const result = (): Received => {
      return { writtenBytes: at - offset, takenBytes, unwritten: this.#readOut(inPipe) };
    };
    while (at < end) {
      const missing = end - at - inPipe;
      if (missing > 0) {
        const how = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
        const moved = this.#splice(socket, null, this.#in, null, missing, how);
        if (moved <= 0) return result();
        inPipe += moved;
        takenBytes += moved;
      }
      const stop = this.#wholePages(at, end - at, inPipe);
      while (at < stop) {
        this.#offset[0] = BigInt(at);
        const moved = this.#splice(this.#out, null, fd, this.#offset, stop - at, SPLICE_F_MOVE);
        // Whoever writes what is left hears what was wrong.
        if (moved <= 0) return result();
        at += moved;
        inPipe -= moved;
      }
    }
    return result();
  }

  /** Where a range ends if all of it is there, else where its last whole page does. */
  #wholePages(offset: number, length: number, there: number): number {
    if (there >= length) return offset + length;
    const end = offset + there;
    return end - (end % this.#pageBytes);
  }

  /** A page at most, so all of it or, when there is no memory, nothing. */
  #put(head: Buffer): number {
    if (head.length === 0) return 0;
    try {
      return fs.writeSync(this.#in, head);
    } catch {
      return 0;
    }
  }

  #waitingAt(socket: number): number {
    return this.#ioctl(socket, FIONREAD, this.#waiting) < 0 ? 0 : this.#waiting[0]!;
  }

  #readOut(bytes: number): Buffer {
    if (bytes === 0) return EMPTY;
    const content = Buffer.allocUnsafeSlow(bytes);
    for (let got = 0; got < bytes; ) {
      got += fs.readSync(this.#out, content, got, bytes - got, null);
    }
    return content;
  }
}

const EMPTY = Buffer.alloc(0);
const NOTHING: Received = { writtenBytes: 0, takenBytes: 0, unwritten: EMPTY };
