import fs from 'node:fs';
import { constants } from 'node:os';
import koffi, { type LibraryHandle } from 'koffi';
import { AsyncCalls } from './async-calls.ts';
import { DirtyPages } from './dirty-pages.ts';
import { fileLocks } from './file-lock.ts';
import { FileMap } from './file-map.ts';
import { ifPossible } from './if-possible.ts';
import { IoRing } from './io-ring.ts';
import { readInPool, writeInPool } from './pool-io.ts';
import { socketCalls } from './socket-calls.ts';
import { SocketPipe } from './socket-pipe.ts';
import type { FileExtent, Syscalls } from './syscalls.ts';
import { systemError } from './system-error.ts';

/**
 * libc through koffi. A synchronous call costs about 1 us, as much as one of Node's own, so it is
 * for what never waits; what may wait runs in the thread pool (`AsyncCalls`).
 *
 * Pointers go in as typed arrays where libc takes the memory itself. Inside an iovec they are
 * numbers: the memory of an ArrayBuffer does not move, so one look-up for each lasts for its life.
 * Numbers are those of 64-bit Linux on the architectures that share asm-generic (x86-64, arm64).
 */
const SYS_CACHESTAT = 451;
/** `struct cachestat`; the first word counts the pages that are there. */
const CACHESTAT_WORDS = 5;
const _SC_PAGESIZE = 30;
const RWF_DSYNC = 0x2;
const RWF_NOWAIT = 0x8;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 0x1;
const FALLOC_FL_PUNCH_HOLE = 0x2;
const FALLOC_FL_ZERO_RANGE = 0x10;
const POSIX_FADV_WILLNEED = 3;
const BLKROGET = 0x125e;
const BLKSSZGET = 0x1268;
const BLKDISCARD = 0x1277;
const BLKGETSIZE64 = 0x80081272;
const O_CLOEXEC = 0o2000000;
/** MSG_DONTWAIT, MSG_NOSIGNAL, MSG_MORE: what follows comes at once. */
const SEND_FLAGS = 0x40 | 0x4000 | 0x8000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const { EINTR, EIO } = constants.errno;

/** Binds the functions; throws when libc or one of them is missing. */
export function linuxSyscalls(): Syscalls {
  const libc = koffi.load(null);
  const io = 'int fd, const void *iov, int count, int64_t offset, int flags';
  const preadv2 = libc.func(`int64_t preadv2(${io})`);
  const pwritev2 = libc.func(`int64_t pwritev2(${io})`);
  const pwrite = libc.func('int64_t pwrite(int fd, const void *data, size_t n, int64_t offset)');
  const send = libc.func('int64_t send(int to, const void *data, size_t n, int flags)');
  const pread = libc.func('int64_t pread(int fd, void *data, size_t n, int64_t offset)');
  const sendfile = libc.func('int64_t sendfile(int to, int from, void *offset, size_t n)');
  // Since Linux 6.5; glibc has no name for it yet.
  const cachestat = libc.func('long syscall(long n, int fd, void *range, void *found, int flags)');
  const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
  const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
  const fadvise = libc.func(
    'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
  );
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)');
  const dup3 = libc.func('int dup3(int from, int to, int flags)');
  const setsockopt = libc.func(
    'int setsockopt(int fd, int level, int option, const void *value, uint32_t length)',
  );
  const address = addressFinder(libc);
  const calls = new AsyncCalls();
  const readVector = newVector();
  const pageBytes: number = libc.func('long sysconf(int name)')(_SC_PAGESIZE);
  const cacheRange = new BigUint64Array(2);
  const cacheFound = new BigUint64Array(CACHESTAT_WORDS);
  const lastByte = new Uint8Array(1);
  const sendOffset = new BigInt64Array(1);
  const disk = lazily(() => transfersOf(libc, address));
  const dirtyPages = ifPossible(() => new DirtyPages());
  const fileMap = new FileMap(libc, pageBytes);
  const socketPipe = ifPossible(() => new SocketPipe(libc, pageBytes));

  return {
    readCached(fd, buffer, offset) {
      fillVector(readVector, address(buffer), buffer.length);
      // Any failure counts as "not cached": the read that follows in the pool says what it was.
      return Math.max(0, preadv2(fd, readVector, 1, offset, RWF_NOWAIT));
    },

    isCached(fd, offset, length) {
      cacheRange[0] = BigInt(offset);
      cacheRange[1] = BigInt(length);
      if (cachestat(SYS_CACHESTAT, fd, cacheRange, cacheFound, 0) !== 0) return false;
      const pages = Math.ceil((offset + length) / pageBytes) - Math.floor(offset / pageBytes);
      return Number(cacheFound[0]) === pages && fileMap.isRead(fd, offset, length);
    },

    sendFile(socket, head, fd, offset, length) {
      if (head.length > 0) {
        const sent: number = send(socket.descriptor, head, head.length, SEND_FLAGS);
        if (sent < head.length) return Math.max(0, sent);
      }
      if (socket.isLoopbackTcp) {
        // Behind a file's end a map shows zeroes, up to the next page.
        if (pread(fd, lastByte, 1, offset + length - 1) !== 1) return head.length;
        return head.length + fileMap.sendTo(socket.descriptor, fd, offset, length);
      }
      sendOffset[0] = BigInt(offset);
      return head.length + Math.max(0, sendfile(socket.descriptor, fd, sendOffset, length));
    },

    receiveFile: (arrived, fd, offset, length) =>
      socketPipe()?.receive(arrived, fd, offset, length),

    read: (fd, buffer, offset) => disk().read(fd, buffer, offset),
    write: (fd, data, offset) => disk().write(fd, data, offset),

    writeSync(fd, data, offset) {
      for (let done = 0; done < data.length; ) {
        const rest = done === 0 ? data : data.subarray(done);
        const count: number = pwrite(fd, rest, rest.length, offset + done);
        if (count > 0) done += count;
        else if (count === 0) throw systemError('pwrite', EIO);
        else if (koffi.errno() !== EINTR) throw systemError('pwrite', koffi.errno());
      }
    },

    isWritingBack: () => dirtyPages()?.areWrittenBack ?? false,

    async writeDurable(fd, data, offset) {
      const base = address(data);
      for (let done = 0; done < data.length; ) {
        const vector = newVector();
        fillVector(vector, base + done, data.length - done);
        const count = await calls.run(pwritev2, [fd, vector, 1, offset + done, RWF_DSYNC]);
        if (count === 0) throw systemError('pwritev2', EIO);
        done += count;
      }
    },

    extentAt: (fd, offset, end) => extentAt(lseek, fd, offset, end),

    async punchHole(fd, offset, length) {
      const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      await calls.run(fallocate, [fd, mode, offset, length]);
    },

    async zeroRange(fd, offset, length) {
      const mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
      await calls.run(fallocate, [fd, mode, offset, length]);
    },

    async discardDevice(fd, offset, length) {
      const range = new BigUint64Array(new ArrayBuffer(16));
      range[0] = BigInt(offset);
      range[1] = BigInt(length);
      await calls.run(ioctl, [fd, BLKDISCARD, range]);
    },

    // It returns its errno, which nobody needs: a hint that is not taken costs nothing.
    async willNeed(fd, offset, length) {
      await calls.run(fadvise, [fd, offset, length, POSIX_FADV_WILLNEED]);
    },

    deviceGeometry(fd) {
      const size = new BigUint64Array(1);
      const logicalBlockBytes = new Int32Array(1);
      const readOnly = new Int32Array(1);
      check('ioctl', ioctl(fd, BLKGETSIZE64, size));
      check('ioctl', ioctl(fd, BLKSSZGET, logicalBlockBytes));
      check('ioctl', ioctl(fd, BLKROGET, readOnly));
      return {
        size: Number(size[0]),
        logicalBlockBytes: logicalBlockBytes[0]!,
        readOnly: readOnly[0] !== 0,
      };
    },

    tryLock: fileLocks(libc),

    replace(fd, other) {
      check('dup3', dup3(other, fd, O_CLOEXEC));
      fs.closeSync(other);
    },

    alignedBuffer(bytes, alignment) {
      const memory = Buffer.allocUnsafeSlow(bytes + alignment);
      const start = alignment - (address(memory) % alignment);
      return memory.subarray(start, start + bytes);
    },

    isAligned: (buffer, alignment) => address(buffer) % alignment === 0,

    widenSendBuffer(socket, bytes) {
      const value = new Int32Array([bytes]);
      const set = (option: number) => setsockopt(socket, SOL_SOCKET, option, value, 4) === 0;
      // The first is for the privileged; the second is cut to net.core.wmem_max.
      if (!set(SO_SNDBUFFORCE)) set(SO_SNDBUF);
    },

    sockets: ifPossible(() => socketCalls(libc))(),
  };
}

/** By a ring where there is one: containers tend to have none. */
function transfersOf(
  libc: LibraryHandle,
  address: (buffer: Buffer) => number,
): Pick<Syscalls, 'read' | 'write'> {
  try {
    return new IoRing(libc, address);
  } catch {
    return { read: readInPool, write: writeInPool };
  }
}

function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

type Lseek = (fd: number, offset: number, whence: number) => number;

/**
 * A file system that cannot tell says EINVAL, or that all is data; both are answered with data. So
 * is what lies behind the end of a file that somebody has cut off: reading it is an error.
 */
function extentAt(lseek: Lseek, fd: number, offset: number, end: number): FileExtent {
  const data = lseek(fd, offset, SEEK_DATA);
  if (data < 0) {
    if (koffi.errno() !== constants.errno.ENXIO) return { data: true, end };
    const fileEnd = lseek(fd, 0, SEEK_END);
    if (fileEnd <= offset) return { data: true, end };
    return { data: false, end: Math.min(fileEnd, end) };
  }
  if (data > offset) return { data: false, end: Math.min(data, end) };
  const hole = lseek(fd, offset, SEEK_HOLE);
  return { data: true, end: hole > offset ? Math.min(hole, end) : end };
}

/** memmove of nothing returns where its destination lies. */
function addressFinder(libc: LibraryHandle): (buffer: Buffer) => number {
  const memmove = libc.func('uintptr_t memmove(void *to, const void *from, size_t n)');
  const known = new WeakMap<ArrayBufferLike, number>();
  return (buffer) => {
    const memory = buffer.buffer;
    let base = known.get(memory);
    if (base === undefined) {
      const whole = new Uint8Array(memory);
      base = memmove(whole, whole, 0) as number;
      known.set(memory, base);
    }
    return base + buffer.byteOffset;
  };
}

/** One `struct iovec`; on an ArrayBuffer of its own, since V8 may move a small array's memory. */
function newVector(): Uint32Array {
  return new Uint32Array(new ArrayBuffer(16));
}

/** A pointer and a length, each of 64 bits. */
function fillVector(vector: Uint32Array, address: number, length: number): void {
  vector[0] = address;
  vector[1] = address / 2 ** 32;
  vector[2] = length;
}

function check(call: string, result: number): void {
  if (result < 0) throw systemError(call, koffi.errno());
}
