import { BitmapSet } from '../bitmap/bitmap-set.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { type Arrived, type Received, touchedBytes } from '../util/arrived.ts';
import { assert } from '../util/assert.ts';
import { asBlockError, BlockError, RefusedError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { type Generation, InFlight } from '../util/in-flight.ts';
import { type Watcher, watch } from '../util/pending.ts';
import { ArrivingWrites } from './arriving-writes.ts';
import { isZero } from './detect-zeroes.ts';

/**
 * A vertex of the block graph: a disk, or a filter above one. Every kind of disk has this shape.
 *
 * A request returns nothing when it finished at once and a promise only when it did not, and it
 * fails by throwing or by rejecting with a `BlockError`. That saves the hot path a promise a
 * request; whoever does not care writes `await node.write(...)`. The promise may be a `Pending`,
 * which is cheaper to `watch`, and tells whether the request still needs its buffer; until it has
 * ended, or has told that, the buffer is the node's. A filter that uses the buffer later may not
 * pass on what its child returned.
 *
 * Nodes take requests of any alignment and any length; what a disk cannot do itself (unaligned
 * O_DIRECT, a remote server's maximum) its node does for it. `limits` says what is cheapest.
 */
export type Completion = void | Promise<void>;

/** Flags of write-like requests, or-ed together. */
export const WRITE_FUA = 1;
/** Zeroes may be made by deallocating (the wire's NO_HOLE is the absence of this flag). */
export const ZERO_MAY_UNMAP = 2;
/**
 * Fail at once with ENOTSUP, and change nothing, when zeroing is no faster than writing (the wire's
 * FAST_ZERO).
 */
export const ZERO_NO_FALLBACK = 4;

/** What base:allocation says of a range. `hole`: not allocated. `zero`: reads as zeroes. */
export interface Extent {
  offset: number;
  length: number;
  hole: boolean;
  zero: boolean;
}

export interface BlockLimits {
  /** Requests that are multiples of this need no read-modify-write; a power of two, 1 to 65536. */
  readonly requestAlignment: number;
  /** Requests that are multiples of this are fastest; a power of two, at least 512. */
  readonly preferredBytes: number;
  /** The longest read or write that the disk takes in one piece. */
  readonly transferBytesMax: number;
}

export interface BlockFeatures {
  /** The disk can deallocate; without it a discard succeeds and does nothing. */
  readonly discard: boolean;
  /** Write-zeroes costs less than writing zeroes, so ZERO_NO_FALLBACK can succeed. */
  readonly fastZero: boolean;
  /** Zeroes reach the disk without their bytes. */
  readonly cheapZero: boolean;
  /** Block status is told at once, without a promise: it is worth asking before each long read. */
  readonly freeStatus: boolean;
}

/** What an operator wants of a disk's space, in the words of QMP: of each node by itself. */
export interface SpaceOptions {
  /** `ignore`: discards do nothing, and zeroes deallocate nothing. */
  readonly discard: 'ignore' | 'unmap';
  /** What data that is zero is written as: zeroes (`on`) that may deallocate (`unmap`). */
  readonly detectZeroes: 'off' | 'on' | 'unmap';
}

export interface DiskRange {
  readonly offset: number;
  readonly length: number;
}

export abstract class BlockNode {
  /** `node-name` of QMP. */
  readonly name: string;
  /** As QMP calls it. */
  abstract readonly driver: string;
  abstract readonly size: number;
  abstract readonly readOnly: boolean;
  abstract readonly limits: BlockLimits;
  abstract readonly features: BlockFeatures;
  /** Unless told otherwise, it does what it is asked to. */
  space: SpaceOptions = { discard: 'unmap', detectZeroes: 'off' };
  /** The node that requests are passed to, as they are or moved; undefined for a disk. */
  get child(): BlockNode | undefined {
    return undefined;
  }

  /** Where it begins in its child, in bytes. */
  get childOffset(): number {
    return 0;
  }

  readonly #bitmaps = new BitmapSet();
  readonly #arriving = new ArrivingWrites();
  /** Write-like requests that have not finished, for `settled`. */
  readonly #writesInFlight = new InFlight();

  constructor(name: string) {
    this.name = name;
  }

  /** Whether a discard may change anything: the disk can, and no node on the way ignores it. */
  get discards(): boolean {
    if (this.space.discard === 'ignore') return false;
    return this.child?.discards ?? this.features.discard;
  }

  /** Fills the whole buffer from `offset` on. */
  read(offset: number, buffer: Buffer): Completion {
    this.#assertRange(offset, buffer.length);
    return this.doRead(offset, buffer);
  }

  write(offset: number, data: Buffer, flags = 0): Completion {
    this.#assertWritable(offset, data.length);
    const { detectZeroes } = this.space;
    // Where zeroes have to be written as data, they are better left in the request they came in.
    if (detectZeroes !== 'off' && this.features.cheapZero && isZero(data)) {
      const unmap = detectZeroes === 'unmap' ? ZERO_MAY_UNMAP : 0;
      return this.writeZeroes(offset, data.length, flags | unmap);
    }
    const { recording } = this.#bitmaps;
    let done: Completion;
    try {
      done = this.doWrite(offset, data, flags);
    } finally {
      if (recording.length !== 0) record(recording, offset, data.length);
    }
    return done && this.#finish(done, recording, offset, data.length);
  }

  /**
   * The range as it stands in a file, if it is best sent from there: the page cache has all of it,
   * and, with `dataOnly`, no block of it that is worth looking for is zero. Whoever is sent it sees
   * later writes too.
   */
  fileBytes(_offset: number, _length: number, _dataOnly: boolean): FileBytes | undefined {
    return undefined;
  }

  /** Whether `writeFile` can be called for the range. */
  takesFile(_offset: number, _length: number): boolean {
    return false;
  }

  /** As `write`, for bytes that nobody has read. */
  writeFile(offset: number, bytes: FileBytes): Completion {
    const { length } = bytes;
    this.#assertWritable(offset, length);
    const { recording } = this.#bitmaps;
    const done = this.doWriteFile(offset, bytes);
    record(recording, offset, length);
    return done && this.#finish(done, recording, offset, length);
  }

  /**
   * As `write`, at once, for as much of the range's beginning as has arrived. Undefined: it has to
   * come by `write`.
   */
  receive(offset: number, length: number, arrived: Arrived): Received | undefined {
    if (this.readOnly || this.space.detectZeroes !== 'off') return undefined;
    this.#assertRange(offset, length);
    const received = this.doReceive(offset, length, arrived);
    const bytes = received === undefined ? 0 : touchedBytes(received);
    if (bytes === 0) return received;
    record(this.#bitmaps.recording, offset, bytes);
    this.#arriving.add(arrived.write, offset, bytes);
    return received;
  }

  /** Afterwards the range reads as zeroes. */
  writeZeroes(offset: number, length: number, flags = 0): Completion {
    this.#assertWritable(offset, length);
    const { recording } = this.#bitmaps;
    const how = this.space.discard === 'unmap' ? flags : flags & ~ZERO_MAY_UNMAP;
    let done: Completion;
    try {
      done = this.doWriteZeroes(offset, length, how);
    } finally {
      if (recording.length !== 0) record(recording, offset, length);
    }
    return done && this.#finish(done, recording, offset, length);
  }

  /**
   * The contents of the range no longer matter; what it reads as until the next write is not said.
   */
  discard(offset: number, length: number, flags = 0): Completion {
    this.#assertWritable(offset, length);
    // Nothing changes, as in QEMU: there is nothing to record, nor for a mirror to copy.
    if (!this.discards) return (flags & WRITE_FUA) === 0 ? undefined : this.flush();
    const { recording } = this.#bitmaps;
    let done: Completion;
    try {
      done = this.doDiscard(offset, length, flags);
    } finally {
      if (recording.length !== 0) record(recording, offset, length);
    }
    return done && this.#finish(done, recording, offset, length);
  }

  /** Every write answered before this call is on stable storage when it is done. */
  flush(): Completion {
    return this.doFlush();
  }

  /**
   * Extents from `offset` on: at least one, in order, without gaps, at most `extentsMax`; they may
   * stop before the end of the range (ask again) and never pass it.
   */
  blockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] | Promise<readonly Extent[]> {
    this.#assertRange(offset, length);
    assert(length > 0 && extentsMax > 0, 'block status of something');
    return this.doBlockStatus(offset, length, extentsMax);
  }

  /** A hint that the range will be read soon. */
  prefetch(offset: number, length: number): Completion {
    this.#assertRange(offset, length);
    return this.doPrefetch(offset, length);
  }

  /** Requests that only a limit holds back go on now: somebody waits for what is in flight. */
  hurry(): void {
    this.child?.hurry();
  }

  /**
   * Writes that have not begun, and that the end of a mirror holds back, fail: whoever asked for
   * them goes. All of them do: nobody else may write here.
   */
  turnAway(reason: BlockError): void {
    this.child?.turnAway(reason);
  }

  /** Requests that wait for a peer fail soon instead of waiting on (before a forced cancel). */
  cancelInFlight(): void {}

  /**
   * Calls `listener` whenever the disk was lost and found again: what it had answered and not
   * flushed by then may be gone. Returns how to stop listening.
   */
  watchReconnects(listener: () => void): () => void {
    return this.child?.watchReconnects(listener) ?? (() => {});
  }

  /**
   * Why the server that has the disk cannot be reached at the moment (no connection, or no answers
   * for a while); undefined while it can, and for disks that need none. What it had answered and
   * not flushed may be lost.
   */
  get unreachable(): string | undefined {
    return this.child?.unreachable;
  }

  /**
   * Makes the disk shorter or longer, new bytes reading as zeroes; rejects when this kind cannot.
   * For `resizeNode`, which sees to it that nobody uses the disk and that bitmaps follow.
   */
  async resize(_size: number): Promise<void> {
    throw new RefusedError('Image format driver does not support resize');
  }

  /**
   * Lets requests change the disk, or not; at once. Throws where that cannot be. For
   * `blockdev-reopen`, which sees to it that nobody writes to what becomes read-only.
   */
  setReadOnly(readOnly: boolean): void {
    if (readOnly !== this.readOnly) throw new RefusedError("Cannot change the option 'read-only'");
  }

  /** The size has changed: bitmaps cover the node again. */
  fitBitmaps(): void {
    for (const bitmap of this.bitmaps) if (bitmap.size !== this.size) bitmap.resize(this.size);
  }

  /** Ends the node: nothing may be in flight, nothing may follow. */
  abstract close(): Promise<void>;

  protected abstract doRead(offset: number, buffer: Buffer): Completion;
  protected abstract doWrite(offset: number, data: Buffer, flags: number): Completion;
  protected doWriteFile(_offset: number, _bytes: FileBytes): Completion {
    throw new Error('takesFile() was false');
  }
  protected doReceive(_offset: number, _length: number, _arrived: Arrived): Received | undefined {
    return undefined;
  }
  protected abstract doWriteZeroes(offset: number, length: number, flags: number): Completion;
  protected abstract doDiscard(offset: number, length: number, flags: number): Completion;
  protected abstract doFlush(): Completion;
  protected abstract doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] | Promise<readonly Extent[]>;

  protected doPrefetch(_offset: number, _length: number): Completion {}

  /**
   * Resolves when every write that has begun by now has finished, whatever begins later. A new
   * filter needs it: a write that entered below it before it was there is seen by nobody else.
   */
  settled(): Promise<void> {
    this.hurry();
    return this.#writesInFlight.settled();
  }

  /** First to last added; QMP shows the newest first. */
  get bitmaps(): readonly DirtyBitmap[] {
    return this.#bitmaps.list();
  }

  addBitmap(bitmap: DirtyBitmap): void {
    assert(bitmap.size === this.size, 'a bitmap covers its node');
    this.#bitmaps.add(bitmap);
    this.#markArriving(bitmap);
  }

  removeBitmap(bitmap: DirtyBitmap): void {
    this.#bitmaps.remove(bitmap);
  }

  findBitmap(name: string): DirtyBitmap | undefined {
    return this.#bitmaps.find(name);
  }

  /**
   * Starts or stops marking this node's writes in the bitmap. A write that is in flight meanwhile
   * is marked: it counts for the bitmaps that recorded when it began and for those that do when it
   * ends. What `receive` has written of one that is not answered yet is marked at once.
   */
  setRecording(bitmap: DirtyBitmap, enabled: boolean): void {
    this.#bitmaps.setRecording(bitmap, enabled);
    this.#markArriving(bitmap);
  }

  /** Clean from now on; a write that is not answered yet is marked, as by `setRecording`. */
  clearBitmap(bitmap: DirtyBitmap): void {
    bitmap.clear();
    this.#markArriving(bitmap);
  }

  #markArriving(bitmap: DirtyBitmap): void {
    if (!bitmap.enabled) return;
    for (const { offset, length } of this.#arriving.ranges()) bitmap.set(offset, length);
  }

  /**
   * The rest of a write that did not finish at once: a failed one may have changed the disk too.
   */
  #finish(
    done: Promise<void>,
    recording: readonly DirtyBitmap[],
    offset: number,
    length: number,
  ): Promise<void> {
    const begun = this.#writesInFlight.begin();
    // Before anybody else is told.
    watch(done, new WriteInFlight(this.#bitmaps, begun, recording, offset, length));
    return done;
  }

  #assertRange(offset: number, length: number): void {
    assert(offset >= 0 && length >= 0 && offset + length <= this.size, 'request inside the disk');
  }

  #assertWritable(offset: number, length: number): void {
    this.#assertRange(offset, length);
    if (this.readOnly) {
      throw new BlockError('EPERM', `Cannot write to node "${this.name}": it is read-only`);
    }
  }

  /** A node's failure in words: `doing` says the verb, the range is added here. */
  protected fail(error: unknown, verb: string, range?: DiskRange): BlockError {
    const what = range === undefined ? '' : ` ${range.length} bytes at ${range.offset}`;
    return asBlockError(error, `Cannot ${verb}${what} on node "${this.name}"`);
  }
}

class WriteInFlight implements Watcher {
  readonly #bitmaps: BitmapSet;
  readonly #begun: Generation;
  /** The bitmaps that recorded when it began. */
  readonly #recording: readonly DirtyBitmap[];
  readonly #offset: number;
  readonly #length: number;

  constructor(
    bitmaps: BitmapSet,
    begun: Generation,
    recording: readonly DirtyBitmap[],
    offset: number,
    length: number,
  ) {
    this.#bitmaps = bitmaps;
    this.#begun = begun;
    this.#recording = recording;
    this.#offset = offset;
    this.#length = length;
  }

  onEnd(): void {
    record(this.#recording, this.#offset, this.#length);
    const { recording } = this.#bitmaps;
    if (recording !== this.#recording) record(recording, this.#offset, this.#length);
    this.#begun.end();
  }
}

function record(bitmaps: readonly DirtyBitmap[], offset: number, length: number): void {
  for (const bitmap of bitmaps) bitmap.set(offset, length);
}

/** Parts of a larger request, in order, none longer than `lengthMax`. */
export function* pieces(offset: number, length: number, lengthMax: number): Generator<DiskRange> {
  assert(lengthMax > 0, 'pieces have a length');
  for (let at = offset; at < offset + length; at += lengthMax) {
    yield { offset: at, length: Math.min(lengthMax, offset + length - at) };
  }
}
