import fs from 'node:fs';
import { readInPool, writeInPool } from '../sys/pool-io.ts';
import type { Syscalls } from '../sys/syscalls.ts';
import { type Arrived, type Received, touchedBytes } from '../util/arrived.ts';
import { Attempts } from '../util/attempts.ts';
import type { Clock } from '../util/clock.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { KiB, MiB } from '../util/limits.ts';
import { isZero, ZERO_BLOCK_BYTES } from './detect-zeroes.ts';
import { WriteBreaker } from './file-node-breaker.ts';
import type { SharedFlush } from './file-node-flush.ts';
import { WritebackWatch } from './file-node-writeback.ts';
import { FileZeroes } from './file-node-zeroes.ts';
import { type Completion, WRITE_FUA, ZERO_MAY_UNMAP, ZERO_NO_FALLBACK } from './node.ts';

/** What a file node moves its bytes with. Flags are those of `BlockNode`. */
export interface FileIo {
  read(offset: number, buffer: Buffer): Completion;
  write(offset: number, data: Buffer, flags: number): Completion;
  writeZeroes(offset: number, length: number, flags: number): Completion;
  discard(offset: number, length: number, flags: number): Completion;
}

export interface FileHandle {
  readonly syscalls: Syscalls;
  readonly flush: SharedFlush;
  readonly fd: number;
  /** A block device, not a regular file. */
  readonly device: boolean;
  /** On a file system that is memory, so that reads never wait for a disk. */
  readonly inMemory: boolean;
  /** On a file system whose writes wait for somebody else, who may hang. */
  readonly asksSomebody: boolean;
  /** What the file system reads and writes as a whole (st_blksize). */
  readonly blockBytes: number;
  /** What the kernel zeroes without writing are multiples of this. */
  readonly zeroBlockBytes: number;
}

/** Of a write that the system, or a sandbox, does not let us make so, or now. */
const OWN_FAILURES = new Set<unknown>(['ENOMEM', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** The file has to stay open meanwhile. */
export type CachedBytes = Omit<FileBytes, 'end'>;

/** An open file: zeroes and discards are alike whichever way data goes. */
export abstract class FileDisk implements FileIo {
  protected readonly syscalls: Syscalls;
  protected readonly fd: number;
  readonly #flush: SharedFlush;
  readonly #zeroes: FileZeroes;

  constructor(file: FileHandle) {
    this.syscalls = file.syscalls;
    this.fd = file.fd;
    this.#flush = file.flush;
    this.#zeroes = new FileZeroes(file, (offset, data) => this.write(offset, data, 0));
  }

  abstract read(offset: number, buffer: Buffer): Completion;
  abstract write(offset: number, data: Buffer, flags: number): Completion;

  writeZeroes(offset: number, length: number, flags: number): Completion {
    return this.#zeroes.zero(
      { offset, length },
      { free: (flags & ZERO_MAY_UNMAP) !== 0, cheapOnly: (flags & ZERO_NO_FALLBACK) !== 0 },
    );
  }

  /** On stable storage when it is done. */
  protected writeDurable(offset: number, data: Buffer): Promise<void> {
    const { syscalls, fd } = this;
    return this.#flush.carry(syscalls.writeDurable(fd, data, offset), (code) => {
      if (code === 'EIO') return true;
      if (OWN_FAILURES.has(code)) return false;
      // Its own failure, or that of pages that were written earlier? Those can have any code (a
      // thin volume is full, a medium fails), and the kernel tells of them once.
      return syscalls.write(fd, data, offset).then(
        () => true,
        () => false,
      );
    });
  }

  /** As `BlockNode.fileBytes`. */
  cachedBytes(_offset: number, _length: number, _dataOnly: boolean): CachedBytes | undefined {
    return undefined;
  }

  /** As `BlockNode.receive`. */
  receive(_offset: number, _length: number, _arrived: Arrived): Received | undefined {
    return undefined;
  }

  discard(offset: number, length: number): Completion {
    return this.#zeroes.discard({ offset, length });
  }

  /** As `BlockFeatures.cheapZero`. */
  get zeroesAreCheap(): boolean {
    return this.#zeroes.areCheap;
  }

  /** As `BlockFeatures.fastZero`. */
  get zeroesAreFast(): boolean {
    return this.#zeroes.areFast;
  }
}

/** Reads in a row that go to the disk unasked when the page cache had nothing of earlier ones. */
export const UNCACHED_READS_MAX = 63;
/** Longer reads go to the pool: copying this much already takes the event loop 50 to 100 us. */
const SYNC_READ_BYTES_MAX = MiB;
/**
 * Such writes go to the pool: memory that was not used lately takes 200 us to fill, and meanwhile
 * the next request is received (depth 8: 1.11 times as many, depth 1: 0.85).
 */
const POOL_WRITE_BYTES_MIN = MiB;
/** More at a time wait elsewhere: others flush and zero in the pool. */
const POOL_WRITES_MAX = 4;

/** Of file systems that fill the page cache by the page. */
const BLOCK_BYTES_MAX = 4 * KiB;

/** Enough to tell a block of data from one of zeroes, nearly always. */
const HEAD_BYTES = 64;

/**
 * Through the page cache. What the cache can serve is done at once, for one system call and no
 * promise; what has to wait for the disk begins at once, long requests go to the pool. One 4 KiB
 * request from the cache: 1 to 2 us and one copy, against 15 to 80.
 */
export class BufferedDisk extends FileDisk {
  readonly #inMemory: boolean;
  readonly #asksSomebody: boolean;
  readonly #blockBytes: number;
  readonly #breaker: WriteBreaker;
  readonly #writeback: WritebackWatch;
  /** Reads of what the page cache has. */
  readonly #cacheReads = new Attempts(UNCACHED_READS_MAX);
  readonly #head = Buffer.allocUnsafeSlow(HEAD_BYTES);
  #writesInPool = 0;

  constructor(file: FileHandle, clock: Clock) {
    super(file);
    this.#inMemory = file.inMemory;
    this.#asksSomebody = file.asksSomebody;
    this.#blockBytes = file.blockBytes;
    this.#breaker = new WriteBreaker(clock);
    this.#writeback = new WritebackWatch(clock, file.syscalls.isWritingBack);
  }

  override read(offset: number, buffer: Buffer): Completion {
    if (buffer.length > SYNC_READ_BYTES_MAX) return readInPool(this.fd, buffer, offset);
    const done = this.#inMemory
      ? fs.readSync(this.fd, buffer, 0, buffer.length, offset)
      : this.#readCached(offset, buffer);
    if (done === buffer.length) return;
    const rest = done === 0 ? buffer : buffer.subarray(done);
    return this.syscalls.read(this.fd, rest, offset + done);
  }

  /** Bytes that were read at once; none when the cache has had nothing lately. */
  #readCached(offset: number, buffer: Buffer): number {
    if (!this.#cacheReads.isDue()) return 0;
    const bytes = this.syscalls.readCached(this.fd, buffer, offset);
    if (bytes === buffer.length) this.#cacheReads.succeeded();
    else this.#cacheReads.failed();
    return bytes;
  }

  override cachedBytes(offset: number, length: number, dataOnly: boolean): CachedBytes | undefined {
    const { syscalls, fd } = this;
    if (length < ZERO_BLOCK_BYTES || !syscalls.isCached(fd, offset, length)) return undefined;
    if (!this.#areHeadsRead(offset, length, dataOnly)) return undefined;
    let hasLeft = false;
    return {
      length,
      failure: undefined,
      sendTo(socket, head, start) {
        const rest = { offset: offset + start, length: length - start };
        // The socket may have been full for minutes: what has left the cache meanwhile is copied,
        // so that the event loop does not wait for the disk. All of it, for what is on its way back
        // looks as if it were there.
        hasLeft ||= !syscalls.isCached(fd, rest.offset, rest.length);
        return hasLeft ? 0 : syscalls.sendFile(socket, head, fd, rest.offset, rest.length);
      },
      read: (start, buffer) => this.read(offset + start, buffer),
    };
  }

  /**
   * That the beginning of each block can be read at once shows that it is no longer on its way from
   * the disk: such pages count as cached. A block that is not zero at its beginning is not zero.
   */
  #areHeadsRead(offset: number, length: number, dataOnly: boolean): boolean {
    const head = this.#head;
    for (let at = offset; at < offset + length; at += ZERO_BLOCK_BYTES) {
      const bytes = this.#readHead(head, at);
      if (bytes === 0 || (dataOnly && isZero(head, 0, bytes))) return false;
    }
    return true;
  }

  /** Nothing, if there is an error: whoever reads in another way hears of it. */
  #readHead(head: Buffer, at: number): number {
    if (!this.#inMemory) return this.syscalls.readCached(this.fd, head, at);
    try {
      return fs.readSync(this.fd, head, 0, head.length, at);
    } catch {
      return 0;
    }
  }

  override receive(offset: number, length: number, arrived: Arrived): Received | undefined {
    // Parts end at pages, which may be less than what the file system reads and writes.
    if (this.#blockBytes > BLOCK_BYTES_MAX || this.#asksSomebody) return undefined;
    if (this.#writeback.isOn || !this.#breaker.tryStart()) return undefined;
    const received = this.syscalls.receiveFile(arrived, this.fd, offset, length);
    // What was not tried says nothing about the disk.
    if (received !== undefined && touchedBytes(received) > 0) this.#breaker.end();
    return received;
  }

  override write(offset: number, data: Buffer, flags: number): Completion {
    if ((flags & WRITE_FUA) !== 0) return this.writeDurable(offset, data);
    if (this.#asksSomebody) return this.syscalls.write(this.fd, data, offset);
    if (data.length >= POOL_WRITE_BYTES_MIN || !this.#breaker.tryStart()) {
      return this.#writeLong(offset, data);
    }
    try {
      this.syscalls.writeSync(this.fd, data, offset);
    } finally {
      this.#breaker.end();
    }
  }

  #writeLong(offset: number, data: Buffer): Promise<void> {
    if (this.#writesInPool === POOL_WRITES_MAX) return this.syscalls.write(this.fd, data, offset);
    this.#writesInPool++;
    return writeInPool(this.fd, data, offset).finally(() => {
      this.#writesInPool--;
    });
  }
}
