import { constants } from 'node:os';
import koffi, { type LibraryHandle } from 'koffi';
import type { LockMode } from './syscalls.ts';
import { systemError } from './system-error.ts';

/**
 * Advisory locks of an open file. Ours is on byte 0: one writer, or any number of readers. QEMU has
 * a byte for each thing that somebody does (from 100 on) and one for each that he lets nobody else
 * do (from 200 on; `block/file-posix.c`). A writer of ours takes part in that as far as it is about
 * writing: it keeps away from a disk that a virtual machine writes to, and keeps those away. Who
 * only reads is in nobody's way.
 */
const OUR_BYTE = 0;
/** BLK_PERM_WRITE is bit 1. */
const QEMU_WRITES = 100 + 1;
const QEMU_LETS_NOBODY_WRITE = 200 + 1;

const [F_OFD_GETLK, F_OFD_SETLK] = [36, 37];
const [F_RDLCK, F_WRLCK, F_UNLCK] = [0, 1, 2];
const { EACCES, EAGAIN } = constants.errno;

/** `tryLock` of `Syscalls`. */
export function fileLocks(libc: LibraryHandle): (fd: number, mode: LockMode) => boolean {
  const fcntl = libc.func('int fcntl(int fd, int command, void *argument)');

  function set(fd: number, type: number, byte: number): boolean {
    if (fcntl(fd, F_OFD_SETLK, lockOf(type, byte)) === 0) return true;
    const errno = koffi.errno();
    if (errno === EAGAIN || errno === EACCES) return false;
    throw systemError('fcntl', errno);
  }

  /** Whether somebody else has any lock on it. */
  function isTaken(fd: number, byte: number): boolean {
    const found = lockOf(F_WRLCK, byte);
    if (fcntl(fd, F_OFD_GETLK, found) !== 0) throw systemError('fcntl', koffi.errno());
    return found.readInt16LE(0) !== F_UNLCK;
  }

  /** Taken first and looked at then, as QEMU does it: of two that come together one sees both. */
  function keepsQemuAway(fd: number): boolean {
    if (!set(fd, F_RDLCK, QEMU_LETS_NOBODY_WRITE)) return false;
    return !isTaken(fd, QEMU_WRITES) && !isTaken(fd, QEMU_LETS_NOBODY_WRITE);
  }

  return (fd, mode) => {
    if (mode === 'exclusive') {
      if (!set(fd, F_WRLCK, OUR_BYTE)) return false;
      if (keepsQemuAway(fd)) return true;
    }
    set(fd, F_UNLCK, QEMU_LETS_NOBODY_WRITE);
    // One that is refused keeps what it may have had before.
    const isOurs = set(fd, mode === 'none' ? F_UNLCK : F_RDLCK, OUR_BYTE);
    return isOurs && mode !== 'exclusive';
  };
}

/** `struct flock` for one byte. */
function lockOf(type: number, byte: number): Buffer {
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(type, 0);
  lock.writeBigInt64LE(BigInt(byte), 8);
  lock.writeBigInt64LE(1n, 16);
  return lock;
}
