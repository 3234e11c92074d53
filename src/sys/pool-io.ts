import fs from 'node:fs';
import { constants } from 'node:os';
import { hasShrunk, systemError } from './system-error.ts';

/**
 * Whole reads and writes in libuv's thread pool, where it does not matter how long they take.
 * Callbacks, not `fs.promises`: a file handle's promise costs about as much as the read itself.
 */

/** Fills the buffer. A disk has a fixed size, so a file that ends earlier is an error (EIO). */
export function readInPool(fd: number, buffer: Buffer, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const next = () => {
      fs.read(fd, buffer, done, buffer.length - done, offset + done, (error, count) => {
        // libuv itself goes on after EINTR with all other calls.
        if (error?.code === 'EINTR') return next();
        if (error !== null) return reject(error);
        done += count;
        if (done === buffer.length) resolve();
        else if (count > 0) next();
        else reject(hasShrunk(offset + done));
      });
    };
    next();
  });
}

/** Cuts the file off, or lengthens it by a hole. */
export function truncateInPool(fd: number, size: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.ftruncate(fd, size, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** Writes all of `data`. */
export function writeInPool(fd: number, data: Buffer, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const next = () => {
      fs.write(fd, data, done, data.length - done, offset + done, (error, count) => {
        if (error !== null) return reject(error);
        if (count === 0) return reject(systemError('write', constants.errno.ENOSPC));
        done += count;
        if (done === data.length) resolve();
        else next();
      });
    };
    next();
  });
}

/** Puts the file's data (and what is needed to find it again) on stable storage. */
export function syncInPool(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}
