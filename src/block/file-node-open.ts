import fs from 'node:fs';
import type { Syscalls } from '../sys/syscalls.ts';
import { describeError, errorWithCode } from '../sys/system-error.ts';
import { asBlockError, BlockError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { probeDirectBlock } from './file-node-direct.ts';
import type { FileHandle } from './file-node-io.ts';

/**
 * Opens a disk image or a block device and says what it is. Every failure is one sentence that
 * names the file, since this is where an operator's typing mistakes arrive.
 */
export interface OpenFile extends Omit<FileHandle, 'syscalls' | 'flush'> {
  readonly size: number;
  /** Past the page cache: all requests are multiples of this. Undefined: through the cache. */
  readonly directBlockBytes: number | undefined;
}

export interface OpenFileOptions {
  filename: string;
  readOnly: boolean;
  /** Past the page cache (O_DIRECT). */
  direct: boolean;
  syscalls: Syscalls;
  log: Log;
}

/** statfs(2); the one file system of memory that cannot say whether a read would wait. */
const TMPFS_MAGIC = 0x01021994;
/** Those that hand each write to another program, or machine, and wait for it. */
const FUSE_MAGIC = 0x65735546;
const V9FS_MAGIC = 0x01021997;

export function openFile(options: OpenFileOptions): OpenFile {
  const { filename } = options;
  let fd: number | undefined;
  try {
    // Looked at before it is opened: opening a FIFO waits for its other end.
    const isDevice = checkKind(fs.statSync(filename), filename);
    fd = fs.openSync(filename, openFlags(options, isDevice));
    const stats = fs.fstatSync(fd);
    const device = checkKind(stats, filename);
    lock(fd, options);
    const geometry = device ? options.syscalls.deviceGeometry(fd) : undefined;
    // Linux opens it for writing all the same, and fails each write.
    if (geometry?.readOnly && !options.readOnly) {
      const cause = errorWithCode('EROFS', 'the device is read-only');
      throw new BlockError('EPERM', `Could not open "${filename}": ${cause.message}`, { cause });
    }
    const size = geometry?.size ?? stats.size;
    const directBlockBytes = options.direct ? directBlock(fd, size, options) : undefined;
    const zeroBlockBytes = geometry?.logicalBlockBytes ?? 1;
    const fileSystem = device ? undefined : fs.statfsSync(filename).type;
    const inMemory = fileSystem === TMPFS_MAGIC;
    const asksSomebody = fileSystem === FUSE_MAGIC || fileSystem === V9FS_MAGIC;
    const { blksize: blockBytes } = stats;
    const kind = { device, inMemory, asksSomebody, blockBytes, zeroBlockBytes };
    return { fd, ...kind, size, directBlockBytes };
  } catch (error) {
    if (fd !== undefined) fs.closeSync(fd);
    if (error instanceof BlockError) throw error;
    const how = options.direct ? ' with cache.direct' : '';
    const isBusy = (error as NodeJS.ErrnoException).code === 'EBUSY';
    const why = isBusy ? 'it is mounted, or somebody else writes to it' : describeError(error);
    const sentence = `Could not open "${filename}"${how}: ${why}`;
    throw new BlockError(asBlockError(error, sentence).code, sentence, { cause: error });
  }
}

/** A device that is mounted, or a part of another, is not written to behind the kernel's back. */
function openFlags({ readOnly, direct }: OpenFileOptions, isDevice: boolean): number {
  const { O_RDONLY, O_RDWR, O_DIRECT, O_EXCL } = fs.constants;
  const access = readOnly ? O_RDONLY : O_RDWR | (isDevice ? O_EXCL : 0);
  return direct ? access | O_DIRECT : access;
}

/** True for a block device. */
function checkKind(stats: fs.Stats, filename: string): boolean {
  if (stats.isFile() || stats.isBlockDevice()) return stats.isBlockDevice();
  const kind = stats.isDirectory()
    ? 'a directory'
    : stats.isCharacterDevice()
      ? 'a character device'
      : stats.isFIFO()
        ? 'a FIFO'
        : 'a socket';
  throw new BlockError(
    'EINVAL',
    `Could not open "${filename}": it is ${kind}, not a regular file or a block device`,
  );
}

function directBlock(fd: number, size: number, { filename, syscalls }: OpenFileOptions): number {
  const blockBytes = probeDirectBlock(syscalls, fd, size);
  if (size % blockBytes === 0) return blockBytes;
  throw new BlockError(
    'EINVAL',
    `Could not open "${filename}" with cache.direct: its ${size} bytes are not a multiple of ` +
      `${blockBytes}`,
  );
}

/** Keeps a second writer away; a file system without locks is used without one. */
export function lock(
  fd: number,
  { filename, readOnly, syscalls, log }: Omit<OpenFileOptions, 'direct'>,
): void {
  let locked: boolean;
  try {
    locked = syscalls.tryLock(fd, readOnly ? 'shared' : 'exclusive');
  } catch (error) {
    log.warn({ filename, error }, 'the file cannot be locked: keep other writers away');
    return;
  }
  if (locked) return;
  const kind = readOnly ? 'shared "write"' : '"write"';
  throw new BlockError(
    'EPERM',
    `Failed to get ${kind} lock: is another process using the image "${filename}"?`,
  );
}
