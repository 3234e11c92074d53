import type { DirtyMap } from '../bitmap/dirty-map.ts';
import { Unflushed } from '../bitmap/unflushed.ts';
import { type Arrived, type Received, touchedBytes } from '../util/arrived.ts';
import { ByteBudget } from '../util/byte-budget.ts';
import { asBlockError, BlockError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { UNIT_BUFFERS_BYTES_MAX } from '../util/limits.ts';
import { keepsData, watch } from '../util/pending.ts';
import {
  ActiveWrite,
  type ActiveWriteOwner,
  isRefusal,
  mayRefuse,
  type Side,
  writeOf,
  zeroesOf,
} from './active-write.ts';
import { copyRange, SourceUnread } from './copy-range.ts';
import { FilterNode } from './filter-node.ts';
import { Gate } from './gate.ts';
import type { NodeUse } from './graph.ts';
import type { MirrorListener } from './mirror-listener.ts';
import {
  type BlockNode,
  type Completion,
  type DiskRange,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from './node.ts';
import { type RangeHold, RangeLock } from './range-lock.ts';
import { TargetFlush } from './target-flush.ts';
import { wholeUnits } from './whole-units.ts';

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

export class MirrorTop extends FilterNode {
  readonly driver = 'mirror_top';
  /** Not named by the operator: queries look through it. */
  readonly implicit: boolean;
  readonly dirty: DirtyMap;
  /** Ranges that are on their way to the target. */
  readonly lock = new RangeLock();
  readonly unflushed: Unflushed;
  /** Client writes go to the target as well, before they are answered. */
  copiesSynchronously = false;
  /** So do their flushes, and FUA: what they are promised holds there, too. */
  flushesTarget = false;
  /** Clients are about to move to the target: who comes below would see no more writes. */
  isLeaving = false;
  /** What the target reads as it has: it has not failed to flush. */
  trustsTarget = true;
  /** What the target says that it reads as zeroes needs no zeroes. */
  skipsZeroes = false;
  /** What of them goes there is whole multiples of this: the rest is read from the source. */
  writeUnitBytes = 1;

  readonly #source: NodeUse;
  readonly #target: NodeUse;
  /** Flags of requests that may reach the target. */
  readonly #targetFlags: number;
  readonly #listener: MirrorListener;
  /** For what is read of the source around, or after, client writes. */
  readonly #unitBuffers = new ByteBudget(UNIT_BUFFERS_BYTES_MAX);
  /** Client writes below the filter that will be marked, not copied, when they end. */
  #passiveWrites = 0;
  /** Those that will be copied, or wait for their range still. */
  #activeWrites = 0;
  #idleWaiters: (() => void)[] = [];
  readonly #targetFlush: TargetFlush;
  readonly #gate = new Gate();
  #successor: BlockNode | undefined;
  #cancelled = false;

  constructor(options: {
    name: string;
    implicit: boolean;
    source: NodeUse;
    target: NodeUse;
    dirty: DirtyMap;
    /** Zeroes may give storage of the target back. */
    unmap: boolean;
    listener: MirrorListener;
  }) {
    super(options.name);
    this.implicit = options.implicit;
    this.#source = options.source;
    this.#target = options.target;
    this.dirty = options.dirty;
    this.#targetFlags = options.unmap ? ~0 : ~ZERO_MAY_UNMAP;
    this.#listener = options.listener;
    const { size, granularity } = options.dirty.bitmap;
    this.unflushed = new Unflushed({ size, granularity });
    this.#targetFlush = new TargetFlush(options.target, this.unflushed, () => this.#targetLost());
  }

  /** How what is zero, and nobody has asked to have written, is sent to the target. */
  get zeroFlags(): number {
    return ZERO_MAY_UNMAP & this.#targetFlags;
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
    this.#gate.close();
    await this.idle();
  }

  undrain(): void {
    this.#gate.open();
  }

  /** What holds client writes back: the end of this mirror, or of one below; they begin here. */
  #heldBy(): Promise<void> | undefined {
    for (let node: BlockNode | undefined = this; node !== undefined; node = node.child) {
      if (node instanceof MirrorTop && node.#gate.closed !== undefined) return node.#gate.closed;
    }
    return undefined;
  }

  override turnAway(reason: BlockError): void {
    this.#gate.turnAway(reason);
    super.turnAway(reason);
  }

  /** What has not reached the target yet stays away, but for flushes: it may hang, or hold back. */
  cancel(): void {
    this.#cancelled = true;
    this.#target.node.turnAway(new BlockError('ECANCELED', 'The mirror was cancelled'));
  }

  /** The mirror is over and its clients are not on the target: they wait for no flush of it. */
  giveUpFlushes(): void {
    this.#targetFlush.giveUp();
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
    this.flushesTarget = false;
  }

  async close(): Promise<void> {}

  override fileBytes(offset: number, length: number, dataOnly: boolean): FileBytes | undefined {
    return this.child.fileBytes(offset, length, dataOnly);
  }

  protected doWrite(offset: number, data: Buffer, flags: number): Completion {
    const held = this.#heldBy();
    if (held !== undefined) return held.then(() => this.doWrite(offset, data, flags));
    if (this.#successor !== undefined) return this.#successor.write(offset, data, flags);
    const range = { offset, length: data.length };
    const write = writeOf(offset, data, flags);
    if (!this.copiesSynchronously) return this.#pass(range, write);
    const targetFlags = this.#flagsForTarget(flags);
    const onTarget = targetFlags === flags ? write : writeOf(offset, data, targetFlags);
    return this.#onBoth(range, write, onTarget, flags);
  }

  protected override doReceive(
    offset: number,
    length: number,
    arrived: Arrived,
  ): Received | undefined {
    if (this.#heldBy() !== undefined || this.copiesSynchronously) return undefined;
    if (this.#successor !== undefined) return this.#successor.receive(offset, length, arrived);
    const received = this.#source.node.receive(offset, length, arrived);
    const bytes = received === undefined ? 0 : touchedBytes(received);
    if (bytes > 0) this.#mark({ offset, length: bytes });
    return received;
  }

  protected doWriteZeroes(offset: number, length: number, flags: number): Completion {
    const held = this.#heldBy();
    if (held !== undefined) return held.then(() => this.doWriteZeroes(offset, length, flags));
    if (this.#successor !== undefined) return this.#successor.writeZeroes(offset, length, flags);
    const range = { offset, length };
    const zero = zeroesOf(flags);
    if (!this.copiesSynchronously) return this.#pass(range, zero, mayRefuse(flags));
    return this.#onBoth(range, zero, zeroesOf(this.#flagsForTarget(flags)), flags);
  }

  protected doDiscard(offset: number, length: number, flags: number): Completion {
    const held = this.#heldBy();
    if (held !== undefined) return held.then(() => this.doDiscard(offset, length, flags));
    if (this.#successor !== undefined) return this.#successor.discard(offset, length, flags);
    const range = { offset, length };
    const discard: Side = (node) => node.discard(offset, length, flags);
    if (!this.copiesSynchronously) return this.#pass(range, discard);
    // What a discarded range reads as is the source's choice: the target gets what the source
    // has made of it, so it must wait for the source.
    return this.#onBoth(range, discard, undefined, flags | ZERO_MAY_UNMAP);
  }

  /** "Fast or not at all" is a question to the source: the target follows what it has done. */
  #flagsForTarget(flags: number): number {
    const asked = flags & ~ZERO_NO_FALLBACK & this.#targetFlags;
    return this.flushesTarget ? asked : asked & ~WRITE_FUA;
  }

  protected override doFlush(): Completion {
    const source = this.child.flush();
    if (!this.flushesTarget) return source;
    const target = this.flushTarget().catch((error: unknown) => {
      // The clients are there by now, and it may be about what they have written since.
      if (this.#successor === this.#target.node) throw error;
      // Of a mirror that is over nobody is told.
      if (this.#successor !== undefined) return;
      this.#listener.onActiveError(asBlockError(error, "Cannot flush the mirror's target"));
    });
    return Promise.all([source, target]).then(() => {});
  }

  /** When it fails, all that the target has answered since the last good one is dirty again. */
  flushTarget(): Promise<void> {
    return this.#targetFlush.flush();
  }

  /**
   * Marks what the target answered but never flushed: it may have lost it. Also what it may have
   * answered of requests that are on their way still, even when it has flushed in between.
   */
  markUnflushed(): void {
    for (const { offset, length } of this.lock.ranges()) this.dirty.mark(offset, length);
    for (const run of this.unflushed.takeAll()) this.dirty.mark(run.offset, run.length);
    this.#listener.onMarked();
  }

  #targetLost(): void {
    this.trustsTarget = false;
    this.markUnflushed();
  }

  /** The source alone; the range is dirty before the client hears of it. */
  #pass(range: DiskRange, side: Side, isRefusable = false): Completion {
    if (range.length === 0) return;
    this.#passiveWrites++;
    const end = (failure?: unknown) => {
      this.#passiveWrites--;
      // Of what was refused nothing is to be copied, but the job may have waited for its end.
      if (isRefusable && isRefusal(failure)) this.#listener.onMarked();
      else this.#mark(range);
      this.#tellIdle();
    };
    const fail = (failure: unknown): never => {
      end(failure);
      throw failure;
    };
    let done: Completion;
    try {
      done = side(this.#source.node, range);
    } catch (failure) {
      return fail(failure);
    }
    if (done !== undefined) return done.then(() => end(), fail);
    end();
  }

  #onBoth(range: DiskRange, onSource: Side, onTarget: Side | undefined, flags: number): Completion {
    if (range.length === 0) return;
    this.#activeWrites++;
    const unitBytes = this.writeUnitBytes;
    const whole = wholeUnits(range, unitBytes, this.size);
    // Around a part of a unit there is what the source has: it is read when the part is in.
    const isWhole = whole === range;
    const request = {
      range,
      whole,
      unitBytes,
      onSource,
      onTarget: isWhole ? onTarget : undefined,
      targetFollows: (flags & ZERO_NO_FALLBACK) !== 0 || onTarget === undefined || !isWhole,
      mayRefuse: mayRefuse(flags),
      flags: this.#flagsForTarget(flags),
    };
    const write = new ActiveWrite(request, this.#activeWriteOwner);
    const hold = this.lock.lock(whole.offset, whole.length);
    if (hold instanceof Promise) {
      void hold.then((granted) => {
        if (this.#begin(write, granted)) write.tell();
      });
      return write;
    }
    if (!this.#begin(write, hold)) return write;
    if (write.sourceFailure !== undefined) throw write.sourceFailure;
  }

  /** Returns whether it has ended at once. */
  #begin(write: ActiveWrite, hold: RangeHold): boolean {
    write.hold = hold;
    // The mode may have changed while this write waited for its range.
    write.copies = this.copiesSynchronously;
    if (!write.copies) {
      this.#activeWrites--;
      this.#passiveWrites++;
    }
    const { targetFollows } = write.request;
    // The target's first: a remote server works on it while this thread writes to the source.
    const toTarget = write.copies && !targetFollows ? this.#beginTarget(write) : undefined;
    const toSource = this.#beginSource(write);
    if (write.copies && targetFollows && write.sourceFailure === undefined) {
      write.beginSide();
      // A failure of the source is not one of the target.
      watch(
        Promise.resolve(toSource).then(
          () => this.#followSource(write),
          () => {},
        ),
        write,
      );
    }
    write.keepsData =
      (toTarget !== undefined && keepsData(toTarget)) ||
      (toSource !== undefined && keepsData(toSource));
    return write.endSide();
  }

  #beginTarget(write: ActiveWrite): Completion {
    const wanted = this.#claim(write);
    if (wanted === undefined) return;
    let done: Completion;
    try {
      done = write.request.onTarget!(this.#target.node, wanted);
    } catch (error) {
      write.targetFailure = error;
      done = undefined;
    }
    if (done === undefined) {
      this.#activeWriteOwner.targetEnded(write);
      return;
    }
    write.beginSide();
    watch(done, write);
    return done;
  }

  #beginSource(write: ActiveWrite): Completion {
    let done: Completion;
    try {
      done = write.request.onSource(this.#source.node, write.request.range);
    } catch (error) {
      write.sourceFailure = error;
      return;
    }
    if (done === undefined) return;
    write.beginSide();
    watch(done, {
      onEnd: (failure) => {
        write.sourceFailure = failure;
        if (write.endSide()) write.tell();
      },
    });
    return done;
  }

  /** What of a write goes to the target: from here on it is on its way there. */
  #claim(write: ActiveWrite): DiskRange | undefined {
    const { whole, flags, onTarget, targetFollows } = write.request;
    // What follows unread leaves dirty what is: others may have written since the source was done.
    const isUnread = targetFollows && onTarget !== undefined;
    const wanted = isUnread ? whole : this.#activeRange(whole);
    write.wanted = wanted;
    if (wanted === undefined) return undefined;
    this.#listener.onActiveBegin(wanted.length);
    // Before and after: a server that is lost in between may take with it what it answered.
    this.unflushed.add(wanted.offset, wanted.length);
    if ((flags & WRITE_FUA) !== 0) write.durable = this.#targetFlush.beginDurable();
    return wanted;
  }

  readonly #activeWriteOwner: ActiveWriteOwner = {
    targetEnded: (write) => {
      const { wanted, durable, targetFailure } = write;
      // Again: a flush may have begun, and ended, between the request and its answer.
      if (wanted !== undefined) this.unflushed.add(wanted.offset, wanted.length);
      durable?.end();
      // It may have failed for what was written before it, of which no flush will tell again.
      if (targetFailure !== undefined && durable !== undefined) this.#targetLost();
    },
    bothEnded: (write) => this.#onActiveEnd(write),
  };

  #onActiveEnd(write: ActiveWrite): void {
    const { wanted, copies, sourceFailure, targetFailure } = write;
    const { range, whole, mayRefuse } = write.request;
    const failed = sourceFailure !== undefined || targetFailure !== undefined;
    const isRefused = mayRefuse && isRefusal(sourceFailure);
    // Marked before the range is let go and before anyone is told.
    if ((!copies || failed) && !isRefused) this.#mark(copies ? whole : range);
    else if (!copies) this.#listener.onMarked();
    const copiedBytes = wanted === undefined || failed ? 0 : wanted.length;
    if (sourceFailure === undefined && targetFailure !== undefined) {
      // What cannot be read of the source is marked: the copy that follows tells of it.
      if (!(targetFailure instanceof SourceUnread)) this.#targetFailed(targetFailure, range);
    }
    write.hold.release();
    if (copies) this.#activeWrites--;
    else this.#passiveWrites--;
    this.#listener.onActiveEnd(wanted?.length ?? 0, copiedBytes);
    this.#tellIdle();
  }

  #followSource(write: ActiveWrite): Completion {
    const { onTarget, unitBytes, flags } = write.request;
    const range = this.#claim(write);
    if (range === undefined) return;
    const assertWanted = () => {
      if (this.#cancelled) throw new BlockError('ECANCELED', 'The mirror was cancelled');
    };
    if (onTarget !== undefined) {
      assertWanted();
      return onTarget(this.#target.node, range);
    }
    const buffers = this.#unitBuffers;
    const mayAsk = this.skipsZeroes && this.trustsTarget && (flags & WRITE_FUA) === 0;
    // A target that gives back space is not asked first.
    const skipsZeroes = mayAsk && !this.#target.node.discards;
    const options = { unitBytes, flags, assertWanted, buffers, skipsZeroes };
    return copyRange(this.#source.node, () => this.#target.node, range, options);
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
