import type { Arrived, Received } from '../util/arrived.ts';
import type { TakingSocket } from '../util/file-bytes.ts';
import type { Log } from '../util/log.ts';
import type { SocketCalls } from '../util/socket-calls.ts';
import { linuxSyscalls } from './linux.ts';
import { portableSyscalls } from './portable.ts';

/**
 * The system calls that Node lacks. There are two sets: `linux.ts` calls libc through the FFI;
 * `portable.ts` does what plain Node can, slower or coarser but never wrong. Callers cannot tell
 * them apart except by speed and by EOPNOTSUPP, which they must expect from the kernel anyway.
 *
 * Failures are Node's: an `Error` whose `code` is the errno's name. Offsets and lengths are bytes.
 */
export interface Syscalls {
  /** Reads from the page cache alone, at once: how many bytes from `offset` on it found there. */
  readCached(fd: number, buffer: Buffer, offset: number): number;
  /**
   * Whether all of the range is in the page cache. Of a file that is neither ours nor ours to write
   * that includes what is on its way there.
   */
  isCached(fd: number, offset: number, length: number): boolean;
  /**
   * Gives a socket what it takes at once of `head` and, behind it, of a file's bytes, from the page
   * cache: how many of both. 0 if it is full, and for any failure: whoever reads, or writes, in
   * another way sees what it was.
   */
  sendFile(socket: TakingSocket, head: Buffer, fd: number, offset: number, length: number): number;
  /**
   * Writes to a file's page cache, at once, what has arrived of a range: its beginning, and no part
   * of a page unless the range ends there. Undefined where that cannot be had.
   */
  receiveFile(arrived: Arrived, fd: number, offset: number, length: number): Received | undefined;
  /** Fills the buffer, however long the disk takes: the caller is not blocked. */
  read(fd: number, buffer: Buffer, offset: number): Promise<void>;
  /** Writes all of `data`, however long the disk takes: the caller is not blocked. */
  write(fd: number, data: Buffer, offset: number): Promise<void>;
  /** Writes all of `data` before it returns, for writes that end in the page cache. */
  writeSync(fd: number, data: Buffer, offset: number): void;
  /** Whether the kernel writes the page cache back, so that who fills it may wait. Takes 40 us. */
  isWritingBack(): boolean;
  /** Writes all of `data`, on stable storage when it is done. Does not block the caller. */
  writeDurable(fd: number, data: Buffer, offset: number): Promise<void>;
  /** The data or hole that `offset` lies in, cut off at `end`; a hole reads as zeroes. */
  extentAt(fd: number, offset: number, end: number): FileExtent;
  /** Deallocates the range, which then reads as zeroes. The size of the file stays. */
  punchHole(fd: number, offset: number, length: number): Promise<void>;
  /** Zeroes the range without giving up its space. The size of the file stays. */
  zeroRange(fd: number, offset: number, length: number): Promise<void>;
  /** Tells a block device that the range is not needed; what it reads as is not said. */
  discardDevice(fd: number, offset: number, length: number): Promise<void>;
  /** Starts reading the range into the page cache. */
  willNeed(fd: number, offset: number, length: number): Promise<void>;
  deviceGeometry(fd: number): DeviceGeometry;
  /**
   * An advisory lock that ends with the descriptor (`file-lock.ts`); false when somebody else's is
   * in the way, then it is as it was.
   */
  tryLock(fd: number, mode: LockMode): boolean;
  /** From here on `fd` is what `other` was, also for calls that wait; `other` is closed. */
  replace(fd: number, other: number): void;
  /** Memory for O_DIRECT, its address a multiple of `alignment` (a power of two). */
  alignedBuffer(bytes: number, alignment: number): Buffer;
  isAligned(buffer: Buffer, alignment: number): boolean;
  /** Lets a socket hold `bytes` that its peer has not read, or as many as the system allows. */
  widenSendBuffer(socket: number, bytes: number): void;
  /** Undefined where sockets are for the event loop alone. */
  readonly sockets: SocketCalls | undefined;
}

export interface FileExtent {
  readonly data: boolean;
  readonly end: number;
}

export interface DeviceGeometry {
  readonly size: number;
  readonly logicalBlockBytes: number;
  readonly readOnly: boolean;
}

export type LockMode = 'shared' | 'exclusive' | 'none';

/** Whose structures and numbers are those of `linux.ts`. */
const ARCHITECTURES: readonly string[] = ['x64', 'arm64', 'riscv64', 'loong64'];

/** `ffi: false` forces the portable set; a machine without the FFI or its libc gets it as well. */
export function loadSyscalls(options: { ffi: boolean; log: Log }): Syscalls {
  const isKnown = process.platform === 'linux' && ARCHITECTURES.includes(process.arch);
  if (!options.ffi || !isKnown) return portableSyscalls;
  try {
    return linuxSyscalls();
  } catch (error) {
    const lost = 'disks are slower, holes are not seen, images are not locked';
    options.log.warn({ error }, `libc cannot be called: ${lost}`);
    return portableSyscalls;
  }
}
