import fs from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { readInPool, syncInPool, writeInPool } from './pool-io.ts';
import type { Syscalls } from './syscalls.ts';
import { systemError } from './system-error.ts';

/**
 * The system calls as far as plain Node goes: nothing is cached, all is data, nothing is locked.
 */
export const portableSyscalls: Syscalls = {
  readCached: () => 0,
  isCached: () => false,
  sendFile: () => 0,
  receiveFile: () => undefined,
  read: readInPool,
  write: writeInPool,

  writeSync(fd, data, offset) {
    for (let done = 0; done < data.length; ) {
      const count = fs.writeSync(fd, data, done, data.length - done, offset + done);
      if (count === 0) throw systemError('write', constants.errno.ENOSPC);
      done += count;
    }
  },

  isWritingBack: () => false,

  async writeDurable(fd, data, offset) {
    await writeInPool(fd, data, offset);
    await syncInPool(fd);
  },

  extentAt: (_fd, _offset, end) => ({ data: true, end }),
  punchHole: () => unsupported('fallocate'),
  zeroRange: () => unsupported('fallocate'),
  discardDevice: () => unsupported('ioctl'),
  willNeed: () => Promise.resolve(),

  /** From sysfs; a partition has its size in its own directory and its queue in the disk's. */
  deviceGeometry(fd) {
    const { rdev } = fs.fstatSync(fd);
    const directory = fs.realpathSync(`/sys/dev/block/${major(rdev)}:${minor(rdev)}`);
    const queue = [directory, path.dirname(directory)]
      .map((at) => path.join(at, 'queue'))
      .find((at) => fs.existsSync(at));
    return {
      size: readNumber(path.join(directory, 'size')) * SYSFS_SECTOR_BYTES,
      logicalBlockBytes: readNumber(path.join(queue ?? directory, 'logical_block_size')),
      readOnly: readNumber(path.join(directory, 'ro')) !== 0,
    };
  },

  tryLock(_fd, mode) {
    if (mode === 'none') return true;
    throw systemError('fcntl', constants.errno.EOPNOTSUPP);
  },

  replace() {
    throw systemError('dup3', constants.errno.EOPNOTSUPP);
  },

  alignedBuffer() {
    throw systemError('memalign', constants.errno.EOPNOTSUPP);
  },

  isAligned: () => false,

  widenSendBuffer() {},
  sockets: undefined,
};

/** sysfs counts in these whatever the device's own sectors are. */
const SYSFS_SECTOR_BYTES = 512;

function unsupported(call: string): Promise<never> {
  return Promise.reject(systemError(call, constants.errno.EOPNOTSUPP));
}

function readNumber(file: string): number {
  return Number(fs.readFileSync(file, 'utf8'));
}

/** Device numbers as Linux packs them: 12 bits of major between 8 and 24 more of minor. */
function major(rdev: number): number {
  return (rdev >>> 8) & 0xfff;
}

function minor(rdev: number): number {
  return (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
}
