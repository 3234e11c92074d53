import { errorWithCode, isUnsupported } from '../sys/system-error.ts';
import { MiB } from '../util/limits.ts';
import type { FileHandle } from './file-node-io.ts';
import { type Completion, type DiskRange, pieces } from './node.ts';

/**
 * Zeroing and deallocating without writing, where kernel and file system can. A block device takes
 * whole blocks only: the edges of a range are written, or for a discard left alone.
 */
const ZEROES = Buffer.alloc(MiB);

const NOT_THIS_TIME = new Set<unknown>(['EBUSY', 'EINVAL']);

interface How {
  /** May deallocate. */
  readonly free: boolean;
  /** Fails with ENOTSUP where it would have to write. */
  readonly cheapOnly: boolean;
}

export class FileZeroes {
  readonly #file: FileHandle;
  readonly #write: (offset: number, data: Buffer) => Completion;
  readonly #punching = new Ability();
  readonly #zeroing = new Ability();
  readonly #discarding = new Ability();

  /** `write` serves what cannot be had for less. */
  constructor(file: FileHandle, write: (offset: number, data: Buffer) => Completion) {
    this.#file = file;
    this.#write = write;
  }

  /** False once the kernel has refused both ways that need no bytes of ours. */
  get areCheap(): boolean {
    return this.#punching.possible || this.#zeroing.possible;
  }

  /** False once it has refused those that are surely faster than writing. */
  get areFast(): boolean {
    return this.#punching.possible || (this.#zeroing.possible && !this.#file.device);
  }

  async zero(range: DiskRange, options: How): Promise<void> {
    const end = range.offset + range.length;
    const blocks = wholeBlocks(range, this.#file.zeroBlockBytes);
    if (blocks.length !== 0 && (await this.#zeroBlocks(blocks, options))) {
      await this.#writeZeroes(range.offset, blocks.offset);
      await this.#writeZeroes(blocks.offset + blocks.length, end);
    } else if (options.cheapOnly) {
      throw errorWithCode('ENOTSUP', 'nothing here is faster than writing zeroes');
    } else {
      await this.#writeZeroes(range.offset, end);
    }
  }

  async discard(range: DiskRange): Promise<void> {
    const { offset, length } = wholeBlocks(range, this.#file.zeroBlockBytes);
    if (length === 0) return;
    const { syscalls, fd, device } = this.#file;
    if (device) await this.#discarding.use(() => syscalls.discardDevice(fd, offset, length));
    else await this.#punching.use(() => syscalls.punchHole(fd, offset, length));
  }

  async #zeroBlocks({ offset, length }: DiskRange, { free, cheapOnly }: How): Promise<boolean> {
    const { syscalls, fd, device } = this.#file;
    const punch = () => syscalls.punchHole(fd, offset, length);
    const zeroRange = () => syscalls.zeroRange(fd, offset, length);
    if (free && (await this.#punching.use(punch))) return true;
    // Of a device without zeroes of its own the kernel writes them.
    return !(device && cheapOnly) && this.#zeroing.use(zeroRange);
  }

  async #writeZeroes(start: number, end: number): Promise<void> {
    for (const { offset, length } of pieces(start, end - start, ZEROES.length)) {
      await this.#write(offset, ZEROES.subarray(0, length));
    }
  }
}

/** A system call that may turn out to be impossible here, and is not tried again then. */
class Ability {
  possible = true;

  /** False: not done, do it another way. Other failures are the caller's. */
  async use(call: () => Promise<void>): Promise<boolean> {
    if (!this.possible) return false;
    try {
      await call();
      return true;
    } catch (error) {
      if (isUnsupported(error)) this.possible = false;
      // Not this time: somebody has mounted the device, or the file system dislikes the range.
      else if (!NOT_THIS_TIME.has((error as NodeJS.ErrnoException).code)) throw error;
      return false;
    }
  }
}

/** The whole blocks inside the range; none: a length of 0. */
function wholeBlocks({ offset, length }: DiskRange, blockBytes: number): DiskRange {
  const start = Math.ceil(offset / blockBytes) * blockBytes;
  const end = Math.floor((offset + length) / blockBytes) * blockBytes;
  return { offset: start, length: Math.max(0, end - start) };
}
