import { readInPool, writeInPool } from '../sys/pool-io.ts';
import type { Syscalls } from '../sys/syscalls.ts';
import { errorWithCode } from '../sys/system-error.ts';
import type { Clock } from '../util/clock.ts';
import { MiB } from '../util/limits.ts';
import { WriteBreaker } from './file-node-breaker.ts';
import type { Completion } from './node.ts';

/** How a file node moves bytes: through the page cache (here) or past it (`file-node-direct.ts`). */
export interface FileIo {
  read(offset: number, buffer: Buffer): Completion;
  /** `durable`: on stable storage when it is done. */
  write(offset: number, data: Buffer, durable: boolean): Completion;
}

/** Longer requests go to the pool: copying this much already takes the event loop 50 to 300 us. */
const SYNC_BYTES_MAX = MiB;

/**
 * Through the page cache. What the cache can serve is done at once, for one system call and no
 * promise; the rest goes to the pool. One 4 KiB request: 1 us and one copy, against 20 to 50 us.
 */
export class BufferedIo implements FileIo {
  readonly #syscalls: Syscalls;
  readonly #fd: number;
  readonly #breaker: WriteBreaker;

  constructor(syscalls: Syscalls, fd: number, clock: Clock) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.#breaker = new WriteBreaker(clock);
  }

  read(offset: number, buffer: Buffer): Completion {
    if (buffer.length > SYNC_BYTES_MAX) return readWhole(this.#fd, buffer, offset);
    const cached = this.#syscalls.readCached(this.#fd, buffer, offset);
    if (cached === buffer.length) return;
    return readWhole(this.#fd, buffer.subarray(cached), offset + cached);
  }

  write(offset: number, data: Buffer, durable: boolean): Completion {
    if (durable) return this.#syscalls.writeDurable(this.#fd, data, offset);
    if (data.length > SYNC_BYTES_MAX || !this.#breaker.tryStart()) {
      return writeInPool(this.#fd, data, offset);
    }
    try {
      this.#syscalls.writeSync(this.#fd, data, offset);
    } finally {
      this.#breaker.end();
    }
  }
}

/** Fills the buffer; the disk's size is fixed, so a file that ends earlier is an error. */
export async function readWhole(fd: number, buffer: Buffer, offset: number): Promise<void> {
  const count = await readInPool(fd, buffer, offset);
  if (count === buffer.length) return;
  throw errorWithCode('EIO', `the file has shrunk to ${offset + count} bytes`);
}
