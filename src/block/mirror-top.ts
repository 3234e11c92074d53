import type { DirtyMap } from '../bitmap/dirty-map.ts';
import { Unflushed } from '../bitmap/unflushed.ts';
import { assert } from '../util/assert.ts';
import { asBlockError, BlockError } from '../util/errors.ts';
import { MiB } from '../util/limits.ts';
import { FilterNode } from './filter-node.ts';
import type { NodeUse } from './graph.ts';
import {
  type BlockNode,
  type Completion,
  type DiskRange,
  pieces,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from './node.ts';
import { type RangeHold, RangeLock } from './range-lock.ts';

/**
 * The filter of a mirror: it sits on the source and sees every write of every client.
 *
 *     background      source, then mark dirty (also when the source failed), then answer
 *     write-blocking  hold the range; source and target together; answer when both are in
 *
 * What the filter does not get onto the target it marks, before it answers. It never decides what
 * an error means: that is the job's (`MirrorListener`). Background copies and synchronous writes
 * hold their byte ranges in one lock, so the two never meet on the target.
 *
 * When the filter leaves the graph it passes everything to its successor: requests that were held
 * back meanwhile go on there.
 */
export type CopyMode = 'background' | 'write-blocking';

/** The job behind the filter. */
export interface MirrorListener {
  /** A client write has left something to copy. */
  onMarked(): void;
  /** A synchronous write of so many bytes to the target begins. */
  onActiveBegin(bytes: number): void;
  /**
   * A synchronous write has let go of its range; `copiedBytes` of its `bytes` are on the target.
   */
  onActiveEnd(bytes: number, copiedBytes: number): void;
  /** A synchronous request to the target has failed; its range is marked by now. */
  onActiveError(error: BlockError): void;
}

/** Extents of the source that are looked at in one go after a discard. */
const EXTENTS_MAX = 64;

/** One side of a write-like request: what to do on a node, for the range or a part of it. */
type Side = (node: BlockNode, range: DiskRange) => Completion;

export class MirrorTop extends FilterNode {
  readonly driver = 'mirror-top';
  /** Not named by the operator: queries look through it. */
  readonly implicit: boolean;
  readonly dirty: DirtyMap;
  /** Ranges that are on their way to the target. */
  readonly lock = new RangeLock();
  readonly unflushed: Unflushed;
  /** Client writes go to the target as well, before they are answered. */
  copiesSynchronously = false;

  readonly #source: NodeUse;
  readonly #target: NodeUse;
  readonly #listener: MirrorListener;
  /** Client writes below the filter that will be marked, not copied, when they end. */
  #passiveWrites = 0;
  /** Client writes that hold, or wait for, their range. */
  #activeWrites = 0;
  #idleWaiters: (() => void)[] = [];
  /** Ends, well or not, with the last flush of the target. */
  #lastFlush: Promise<void> = Promise.resolve();
  #gate: Promise<void> | undefined;
  #openGate: (() => void) | undefined;
  #successor: BlockNode | undefined;

  constructor(options: {
    name: string;
    implicit: boolean;
    source: NodeUse;
    target: NodeUse;
    dirty: DirtyMap;
    listener: MirrorListener;
  }) {
    super(options.name);
    this.implicit = options.implicit;
    this.#source = options.source;
    this.#target = options.target;
    this.dirty = options.dirty;
    this.#listener = options.listener;
    const { size, granularity } = options.dirty.bitmap;
    this.unflushed = new Unflushed({ size, granularity });
  }

  /** What the filter passes to: the source, or what took the filter's place. */
  override get child(): BlockNode {
    return this.#successor ?? this.#source.node;
  }

  /** Client writes on their way through the filter, in whichever mode. */
  get writesInFlight(): number {
    return this.#passiveWrites + this.#activeWrites;
  }

  /** Client writes on their way that will leave something to copy. */
  get passiveWrites(): number {
    return this.#passiveWrites;
  }

  /** Holds new client writes back and waits for those that are on their way. */
  async drain(): Promise<void> {
    assert(this.#gate === undefined, 'one drain at a time');
    this.#gate = new Promise((resolve) => {
      this.#openGate = resolve;
    });
    await this.idle();
  }

  undrain(): void {
    this.#openGate?.();
    this.#gate = undefined;
    this.#openGate = undefined;
  }

  /** Resolves when no client write is on its way. */
  async idle(): Promise<void> {
    while (this.writesInFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#idleWaiters.push(resolve);
      });
    }
  }

  /** The filter has left the graph: whoever still calls it means `successor`. */
  retire(successor: BlockNode): void {
    this.#successor = successor;
    this.copiesSynchronously = false;
  }

  async close(): Promise<void> {}

  protected doWrite(offset: number, data: Buffer, flags: number): Completion {
    if (this.#gate !== undefined) {
      return this.#gate.then(() => this.doWrite(offset, data, flags));
    }
    if (this.#successor !== undefined) return this.#successor.write(offset, data, flags);
    const range = { offset, length: data.length };
    const write: Side = (node, part) => {
      const from = part.offset - offset;
      return node.write(part.offset, data.subarray(from, from + part.length), flags);
    };
    return this.copiesSynchronously ? this.#onBoth(range, write, write) : this.#pass(range, write);
  }

  protected doWriteZeroes(offset: number, length: number, flags: number): Completion {
    if (this.#gate !== undefined) {
      return this.#gate.then(() => this.doWriteZeroes(offset, length, flags));
    }
    if (this.#successor !== undefined) return this.#successor.writeZeroes(offset, length, flags);
    const range = { offset, length };
    const zeroWith =
      (how: number): Side =>
      (node, part) =>
        node.writeZeroes(part.offset, part.length, how);
    const zero = zeroWith(flags);
    if (!this.copiesSynchronously) return this.#pass(range, zero);
    // "Fast or not at all" is a question to the source; the target has to follow it.
    return this.#onBoth(range, zero, zeroWith(flags & ~ZERO_NO_FALLBACK));
  }

  protected doDiscard(offset: number, length: number, flags: number): Completion {
    if (this.#gate !== undefined) {
      return this.#gate.then(() => this.doDiscard(offset, length, flags));
    }
    if (this.#successor !== undefined) return this.#successor.discard(offset, length, flags);
    const range = { offset, length };
    const discard: Side = (node) => node.discard(offset, length, flags);
    if (!this.copiesSynchronously) return this.#pass(range, discard);
    // What a discarded range reads as is the source's choice: the target gets what the source
    // has made of it, so it must wait for the source.
    return this.#onBoth(range, discard, (node, part) => this.#likeSource(node, part), true);
  }

  protected override doFlush(): Completion {
    const source = this.child.flush();
    if (!this.copiesSynchronously) return source;
    const target = this.flushTarget().catch((error: unknown) => {
      this.#listener.onActiveError(asBlockError(error, "Cannot flush the mirror's target"));
    });
    return Promise.all([source, target]).then(() => {});
  }

  /**
   * Flushes the target. When that fails nobody knows which of the answered writes are on its disk
   * (the kernel of a server drops what it could not write), so all of them are to be copied again.
   */
  flushTarget(): Promise<void> {
    // One at a time: a flush answers for all that was written before it, so it must not succeed
    // while an earlier one, which carries those writes, may still fail.
    const flushed = this.#lastFlush.then(() => this.#flushOnce());
    this.#lastFlush = flushed.catch(() => {});
    return flushed;
  }

  async #flushOnce(): Promise<void> {
    const end = this.unflushed.beginFlush();
    try {
      await this.#target.node.flush();
      end(true);
    } catch (error) {
      end(false);
      this.markUnflushed();
      throw error;
    }
  }

  /** Marks what the target answered but never flushed: it may have lost it. */
  markUnflushed(): void {
    for (const run of this.unflushed.takeAll()) this.dirty.mark(run.offset, run.length);
    this.#listener.onMarked();
  }

  /** The source alone; the range is dirty before the client hears of it. */
  #pass(range: DiskRange, side: Side): Completion {
    let done: Completion;
    try {
      done = side(this.#source.node, range);
    } catch (error) {
      this.#mark(range);
      throw error;
    }
    if (done === undefined) {
      this.#mark(range);
      return;
    }
    this.#passiveWrites++;
    return done.finally(() => {
      this.#passiveWrites--;
      this.#mark(range);
      this.#tellIdle();
    });
  }

  /** `target` begins together with `source`, or after it when `sourceFirst` says so. */
  #onBoth(range: DiskRange, source: Side, target: Side, sourceFirst = false): Completion {
    if (range.length === 0) return;
    this.#activeWrites++;
    const hold = this.lock.lock(range.offset, range.length);
    if (hold instanceof Promise) {
      return hold.then((granted) => this.#whileHeld(granted, range, source, target, sourceFirst));
    }
    return this.#whileHeld(hold, range, source, target, sourceFirst);
  }

  async #whileHeld(
    hold: RangeHold,
    range: DiskRange,
    source: Side,
    target: Side,
    sourceFirst: boolean,
  ): Promise<void> {
    // The mode may have changed while this write waited for its range.
    const copies = this.copiesSynchronously;
    const onTarget = copies ? this.#activeRange(range) : undefined;
    if (onTarget !== undefined) {
      this.#listener.onActiveBegin(onTarget.length);
      // Before and after: a server that is lost in between may take with it what it answered.
      this.unflushed.add(onTarget.offset, onTarget.length);
    }
    let targetDone: Promise<void> | undefined;
    // The target's first: a remote server works on it while this thread writes to the source.
    if (onTarget !== undefined && !sourceFirst) targetDone = this.#toTarget(onTarget, target);
    const sourceDone = begin(source, this.#source.node, range);
    if (onTarget !== undefined && sourceFirst) {
      targetDone = Promise.resolve(sourceDone).then(() => this.#toTarget(onTarget, target));
    }
    const [onSource, copied] = await Promise.allSettled([sourceDone, targetDone]);
    const failed = onSource.status === 'rejected' || copied.status === 'rejected';
    // Marked before the range is let go and before anyone is told.
    if (!copies || failed) this.#mark(range);
    const copiedBytes = onTarget === undefined || failed ? 0 : onTarget.length;
    if (onTarget !== undefined) this.unflushed.add(onTarget.offset, onTarget.length);
    if (onSource.status === 'fulfilled' && copied.status === 'rejected') {
      // What cannot be read of the source is marked: the copy that follows tells of it.
      if (!(copied.reason instanceof SourceUnread)) this.#targetFailed(copied.reason, range);
    }
    hold.release();
    this.#activeWrites--;
    this.#listener.onActiveEnd(onTarget?.length ?? 0, copiedBytes);
    this.#tellIdle();
    if (onSource.status === 'rejected') throw onSource.reason;
  }

  async #toTarget(range: DiskRange, side: Side): Promise<void> {
    await begin(side, this.#target.node, range);
  }

  /**
   * The part of a synchronous write that goes to the target. Where the write covers only some bytes
   * of a dirty part, that part stays dirty and is copied in whole later. The rest is clean from
   * here on: its bits go before its data does.
   */
  #activeRange(range: DiskRange): DiskRange | undefined {
    const { dirty } = this;
    const part = dirty.partBytes;
    const end = range.offset + range.length;
    let first = range.offset;
    let last = end;
    if (first % part !== 0 && dirty.isDirty(first)) first = Math.ceil(first / part) * part;
    if (end % part !== 0 && end !== this.size && dirty.isDirty(end - 1)) {
      last = Math.floor(end / part) * part;
    }
    if (first >= last) return undefined;
    const coveredFrom = Math.ceil(first / part) * part;
    const coveredTo = last === this.size ? last : Math.floor(last / part) * part;
    if (coveredTo > coveredFrom) dirty.clear(coveredFrom, coveredTo - coveredFrom);
    return { offset: first, length: last - first };
  }

  /** Makes the target read as the source does, where a discard has just been. */
  async #likeSource(target: BlockNode, range: DiskRange): Promise<void> {
    const source = this.#source.node;
    const end = range.offset + range.length;
    for (let at = range.offset; at < end; ) {
      for (const extent of await asked(() => source.blockStatus(at, end - at, EXTENTS_MAX))) {
        if (extent.zero) {
          await target.writeZeroes(extent.offset, extent.length, ZERO_MAY_UNMAP);
        } else {
          await copyData(source, target, extent);
        }
        at = extent.offset + extent.length;
      }
    }
  }

  #tellIdle(): void {
    if (this.writesInFlight > 0 || this.#idleWaiters.length === 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #mark(range: DiskRange): void {
    this.dirty.mark(range.offset, range.length);
    this.#listener.onMarked();
  }

  #targetFailed(error: unknown, range: DiskRange): void {
    const what = `Cannot write ${range.length} bytes at ${range.offset} to the mirror's target`;
    this.#listener.onActiveError(asBlockError(error, what));
  }
}

/** Starts a request; a failure at once becomes a rejection, so that both sides fail alike. */
function begin(side: Side, node: BlockNode, range: DiskRange): Completion {
  try {
    return side(node, range);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** The source did not say what the target should be like. */
class SourceUnread extends Error {}

async function asked<T>(question: () => T): Promise<Awaited<T>> {
  try {
    return await question();
  } catch (error) {
    if (error instanceof BlockError) throw new SourceUnread('the source', { cause: error });
    throw error;
  }
}

async function copyData(source: BlockNode, target: BlockNode, extent: DiskRange): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(extent.length, MiB));
  for (const piece of pieces(extent.offset, extent.length, MiB)) {
    const data = buffer.subarray(0, piece.length);
    await asked(() => source.read(piece.offset, data));
    await target.write(piece.offset, data);
  }
}
