import { allEnded } from '../util/all-ended.ts';
import { BlockError } from '../util/errors.ts';
import { watch } from '../util/pending.ts';
import { type Completion, WRITE_FUA, ZERO_NO_FALLBACK } from './node.ts';
import { type RangeHold, RangeLock } from './range-lock.ts';

/**
 * Requests of any alignment on a disk that takes only whole blocks (a server with a minimum block
 * size, a file past the page cache). A request is at most three parts: the rest of its first block,
 * whole blocks, and the beginning of its last block. Whole blocks go through as they are, without a
 * copy; the parts of blocks are read, changed and written back.
 *
 * In between another write to the same block would be lost, so every write holds the blocks that
 * it touches. Reads hold nothing.
 */
export interface BlockwiseDisk {
  /** Bytes of a block; a power of two. */
  readonly blockBytes: number;
  /** Memory that the disk can read into and write from. */
  allocate(bytes: number): Buffer;
  read(offset: number, buffer: Buffer): Completion;
  write(offset: number, data: Buffer, flags: number): Completion;
  writeZeroes(offset: number, length: number, flags: number): Completion;
  discard(offset: number, length: number, flags: number): Completion;
}

/** What to do with parts of a request: at `offset` of the disk stand bytes [from, to) of it. */
type PartAction = (offset: number, from: number, to: number) => Completion;

export class AlignedAccess {
  readonly #disk: BlockwiseDisk;
  readonly #mask: number;
  readonly #lock = new RangeLock();
  /** Counts `cancelWaiting`, so that who waits for blocks sees that it was meant. */
  #cancels = 0;
  #cancelReason: Error | undefined;

  constructor(disk: BlockwiseDisk) {
    this.#disk = disk;
    this.#mask = disk.blockBytes - 1;
  }

  read(offset: number, buffer: Buffer): Completion {
    if (this.#isAligned(offset, buffer.length)) return this.#disk.read(offset, buffer);
    return this.#inParts(offset, buffer.length, {
      part: (at, from, to) => this.#readPart(at, buffer.subarray(from, to)),
      blocks: (at, from, to) => this.#disk.read(at, buffer.subarray(from, to)),
    });
  }

  write(offset: number, data: Buffer, flags: number): Completion {
    const disk = this.#disk;
    return this.hold(offset, data.length, () => {
      if (this.#isAligned(offset, data.length)) return disk.write(offset, data, flags);
      return this.#inParts(offset, data.length, {
        part: (at, from, to) => this.#changePart(at, data.subarray(from, to), flags),
        blocks: (at, from, to) => disk.write(at, data.subarray(from, to), flags),
      });
    });
  }

  /** Without fallback only whole blocks can be zeroed: a part of one has to be written. */
  writeZeroes(offset: number, length: number, flags: number): Completion {
    const disk = this.#disk;
    return this.hold(offset, length, () => {
      if (this.#isAligned(offset, length)) return disk.writeZeroes(offset, length, flags);
      if ((flags & ZERO_NO_FALLBACK) !== 0) {
        throw new BlockError('ENOTSUP', 'Parts of blocks cannot be zeroed but by writing');
      }
      return this.#inParts(offset, length, {
        part: (at, from, to) => this.#changePart(at, Buffer.alloc(to - from), flags & WRITE_FUA),
        blocks: (at, from, to) => disk.writeZeroes(at, to - from, flags),
      });
    });
  }

  /** Discards the whole blocks of the range. */
  discard(offset: number, length: number, flags: number): Completion {
    const { head, blocksEnd } = this.#split(offset, length);
    if (head === blocksEnd) return;
    const [start, bytes] = [offset + head, blocksEnd - head];
    return this.hold(start, bytes, () => this.#disk.discard(start, bytes, flags));
  }

  /** Writes that wait for their blocks fail with `reason` instead of beginning. */
  cancelWaiting(reason: Error): void {
    this.#cancels++;
    this.#cancelReason = reason;
  }

  /** Runs `request` while nobody else writes to the blocks of the range. */
  hold(offset: number, length: number, request: () => Completion): Completion {
    // Without parts of blocks nobody reads, changes and writes back.
    if (length === 0 || this.#mask === 0) return request();
    const start = this.#down(offset);
    const hold = this.#lock.lock(start, this.#up(offset + length) - start);
    if (!(hold instanceof Promise)) return runAndRelease(hold, request);
    const cancels = this.#cancels;
    return hold.then((granted) =>
      runAndRelease(granted, () => {
        if (this.#cancels !== cancels) throw this.#cancelReason;
        return request();
      }),
    );
  }

  #isAligned(offset: number, length: number): boolean {
    // Bits beyond the 32nd are lost here, and do not matter.
    return ((offset | length) & this.#mask) === 0;
  }

  /** Bytes of the request before its first whole block, and up to the end of its last one. */
  #split(offset: number, length: number): { head: number; blocksEnd: number } {
    const first = this.#up(offset);
    const last = this.#down(offset + length);
    // Inside one block, and neither its beginning nor its end need be there.
    if (first > last) return { head: length, blocksEnd: length };
    return { head: first - offset, blocksEnd: last - offset };
  }

  #inParts(
    offset: number,
    length: number,
    actions: { part: PartAction; blocks: PartAction },
  ): Promise<void> {
    const { head, blocksEnd } = this.#split(offset, length);
    const work: Completion[] = [];
    const act = (action: PartAction, from: number, to: number) => {
      if (from < to) work.push(begin(() => action(offset + from, from, to)));
    };
    act(actions.part, 0, head);
    act(actions.blocks, head, blocksEnd);
    act(actions.part, blocksEnd, length);
    return allEnded(work);
  }

  #down(offset: number): number {
    return offset - (offset & this.#mask);
  }

  #up(offset: number): number {
    return this.#down(offset + this.#mask);
  }

  async #readPart(offset: number, part: Buffer): Promise<void> {
    const start = this.#down(offset);
    const block = this.#disk.allocate(this.#disk.blockBytes);
    await this.#disk.read(start, block);
    block.copy(part, 0, offset - start, offset - start + part.length);
  }

  /** The caller holds the block. */
  async #changePart(offset: number, part: Buffer, flags: number): Promise<void> {
    const start = this.#down(offset);
    const block = this.#disk.allocate(this.#disk.blockBytes);
    await this.#disk.read(start, block);
    part.copy(block, offset - start);
    await this.#disk.write(start, block, flags);
  }
}

function runAndRelease(hold: RangeHold, request: () => Completion): Completion {
  let done: Completion;
  try {
    done = request();
  } catch (error) {
    hold.release();
    throw error;
  }
  if (done === undefined) hold.release();
  // Before anybody else is told.
  else watch(done, hold);
  return done;
}

/** Starts a part; a failure at once becomes a rejection, so that the others are waited for. */
function begin(request: () => Completion): Completion {
  try {
    return request();
  } catch (error) {
    return Promise.reject(error);
  }
}
