import { extentsOf, readsAsZero } from '../block/copy-range.ts';
import { ZERO_BLOCK_BYTES, type ZeroRun, zeroRuns } from '../block/detect-zeroes.ts';
import type { MirrorTop } from '../block/mirror-top.ts';
import {
  type BlockNode,
  type Completion,
  type DiskRange,
  type Extent,
  pieces,
} from '../block/node.ts';
import type { RangeHold } from '../block/range-lock.ts';
import { extentsInUnits, wholeUnits } from '../block/whole-units.ts';
import { allEnded } from '../util/all-ended.ts';
import { BufferPool } from '../util/buffer-pool.ts';
import type { Clock } from '../util/clock.ts';
import { asBlockError, BlockError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { GiB, MiB } from '../util/limits.ts';
import { CopyWindow } from './copy-window.ts';
import { DutyCycle, type RestsFor } from './duty-cycle.ts';

/**
 * Background copies. One copy is a *claim*: a run of dirty bytes whose range is held and whose bits
 * are cleared before anything of it is looked at, so that a write that comes meanwhile marks it
 * again. Its source is asked what is data and what is zero; zeroes travel as WRITE_ZEROES (or not
 * at all when the target has them), data in pieces of 1 MiB (or a cluster). A part of a claim that
 * did not reach the target is dirty again before anyone hears of the failure.
 */
const PIECE_BYTES_MAX = MiB;
/** Data of a claim where no client writes: there is less to find, to hold and to let go. */
const LONG_CLAIM_BYTES_MAX = 4 * MiB;
/** Data of the claims of one burst: all of it may be read before anything else happens. */
const BURST_BYTES_MAX = 8 * MiB;
/** Beside clients that write: between bursts they find the processors free. */
const SHORT_BURST_BYTES_MAX = 4 * MiB;
/** Pieces of one claim in flight: a working bitmap's granule may be 2 GiB. */
const LANES_MAX = 16;
/** Claims grow up to here while the source has nothing but zeroes. */
const ZERO_CLAIM_BYTES_MAX = GiB;
/** Where the target takes longer to zero one they begin anew from here: clients may wait for it. */
const ZERO_MS_MAX = 100;
const SLOW_ZERO_CLAIM_BYTES_MAX = 16 * MiB;
const CLAIMS_MAX = 64;
const EXTENTS_MAX = 256;

export interface CopierListener {
  /** Not after what ends or stops the job, a cancel or an error: what has not begun is left. */
  readonly wantsCopies: boolean;
  /** A claim begins, with at most so much data: what the speed limit counts. */
  onClaimed(dataBytes: number): void;
  /**
   * A claim has ended: there is room for another one. `unspentBytes` of what it began with were
   * zeroes, or left for later.
   */
  onEnded(creditBytes: number, unspentBytes: number): void;
  onError(side: 'source' | 'target', error: BlockError, range: DiskRange): void;
}

class SideError extends Error {
  readonly side: 'source' | 'target';

  constructor(side: 'source' | 'target', cause: unknown) {
    super(side, { cause });
    this.side = side;
  }
}

interface HeldRange {
  readonly range: DiskRange;
  readonly hold: RangeHold;
}

interface Claim extends HeldRange {
  /** How much data may travel for it; what is left over is marked again. */
  readonly dataBytes: number;
  /** What did not travel of that. */
  unspentBytes: number;
  /** Bytes by which its start lowered the dirty count, less what was marked again: its progress. */
  credit: number;
}

/** A part of a claim that is copied as one: data, or zeroes. */
type Piece = DiskRange & { readonly zero: boolean };

export class Copier {
  readonly #top: MirrorTop;
  readonly #target: () => BlockNode;
  readonly #listener: CopierListener;
  readonly #window: CopyWindow;
  readonly #dutyCycle: DutyCycle;
  readonly #clock: Clock;
  readonly #pool: BufferPool;
  #cursor = 0;
  /** What a claim may cover besides: grows while there is nothing but zeroes. */
  #zeroBytes = 0;
  #zeroBytesMax = ZERO_CLAIM_BYTES_MAX;
  #claims = 0;
  /** Data on its way: what the window bounds. */
  #inFlightBytes = 0;
  /** Progress that the claims in flight will bring. */
  creditInFlight = 0;
  /** The end of the disk was reached: everything that was dirty at first has had its turn. */
  firstPassDone = false;
  /** Data bytes written to the target. */
  copiedBytes = 0;
  #cancelled = false;
  /** A dirty part that the last round did not get. */
  #refused: DiskRange | undefined;
  #queued = false;
  #onIdle: (() => void) | undefined;

  constructor(options: {
    top: MirrorTop;
    target: () => BlockNode;
    /** Bytes of data in flight: where the window begins, and at most. */
    window: { readonly bytesMin: number; readonly bytesMax: number };
    clock: Clock;
    listener: CopierListener;
  }) {
    this.#top = options.top;
    this.#target = options.target;
    this.#window = new CopyWindow(options.clock, options.window);
    this.#dutyCycle = new DutyCycle(options.clock);
    this.#clock = options.clock;
    this.#listener = options.listener;
    this.#pool = new BufferPool(options.window.bytesMax);
  }

  get isIdle(): boolean {
    return this.#claims === 0;
  }

  /** Copies that have not reached the target yet stay away from it: it may hang. */
  cancel(): void {
    this.#cancelled = true;
  }

  /** Resolves when no copy is in flight. */
  async idle(): Promise<void> {
    while (this.#claims > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }

  /** Milliseconds for which clients are to be left in peace. */
  restMs(): number {
    return this.#dutyCycle.restMs();
  }

  /**
   * Starts copies until the window is full, `dataBytes` of data are on their way, everything that
   * is dirty is held by someone, or it has been enough for one burst: then it returns true.
   */
  pump(dataBytes: number, restsFor: RestsFor): boolean {
    const clientWaits = this.#top.writesInFlight > 0;
    return this.#dutyCycle.burst(restsFor, clientWaits, (isAlone) =>
      this.#claimSome(dataBytes, isAlone),
    );
  }

  /** A client's write has ended: copies give way. */
  clientWrote(): void {
    this.#dutyCycle.clientWrote();
  }

  #claimSome(dataBytes: number, isAlone: boolean): boolean {
    const { unitBytes } = this.#top.dirty;
    const windowBytes = this.#window.bytesFor(isAlone);
    // Among zeroes claims have little data, if any: then more of them are on their way.
    const isLong = isAlone && this.#zeroBytes === 0;
    const claimBytesMax = isLong ? LONG_CLAIM_BYTES_MAX : PIECE_BYTES_MAX;
    // The target has work while one ends and the next begins.
    const shareBytes = Math.max(windowBytes / 4, PIECE_BYTES_MAX);
    // A small window is one that is waited for at a pause and at the end: claims fit into it.
    const dataBytesMax = Math.min(claimBytesMax, shareBytes, windowBytes, dataBytes);
    const claimBytes = Math.ceil(dataBytesMax / unitBytes) * unitBytes;
    const lengthMax = Math.max(claimBytes, this.#zeroBytes);
    this.#refused = undefined;
    let claimed = 0;
    const hasRoom = () =>
      this.#claims < CLAIMS_MAX &&
      (this.#inFlightBytes === 0 || this.#inFlightBytes + claimBytes <= windowBytes);
    const burstBytes = isAlone ? BURST_BYTES_MAX : SHORT_BURST_BYTES_MAX;
    while (claimed < Math.min(dataBytes, burstBytes) && hasRoom()) {
      const next = this.#nextClaim(lengthMax);
      if (next === undefined) {
        if (claimed === 0 && this.#refused !== undefined) this.#queueFor(this.#refused);
        return false;
      }
      const bytes = Math.min(next.range.length, claimBytes);
      claimed += bytes;
      this.#begin(next.range, next.hold, bytes);
    }
    return claimed < dataBytes && hasRoom();
  }

  /** Holds the next dirty run from the cursor on that nobody else holds, once round the disk. */
  #nextClaim(lengthMax: number): HeldRange | undefined {
    const start = this.#cursor;
    const found = this.#claimBefore(this.#top.size, lengthMax);
    if (found !== undefined) return found;
    this.firstPassDone = true;
    this.#cursor = 0;
    return this.#claimBefore(start, lengthMax);
  }

  /** Only a run that begins before `end`. */
  #claimBefore(end: number, lengthMax: number): HeldRange | undefined {
    const { dirty, lock } = this.#top;
    for (;;) {
      const range = dirty.nextRun(this.#cursor, lengthMax);
      if (range === undefined || range.offset >= end) return undefined;
      const part = { offset: range.offset, length: Math.min(range.length, dirty.unitBytes) };
      // Where a long run is held in some place, its beginning may be free.
      for (const wanted of range.length > part.length ? [range, part] : [range]) {
        this.#cursor = wanted.offset + wanted.length;
        const hold = lock.tryLock(wanted.offset, wanted.length);
        if (hold !== undefined) return { range: wanted, hold };
      }
      this.#refused ??= part;
    }
  }

  /**
   * Waits in line for a part that clients hold again and again: they may never leave it alone for
   * a try to succeed. The wait holds nothing, so nobody waits for it in turn.
   */
  #queueFor(part: DiskRange): void {
    if (this.#queued) return;
    this.#queued = true;
    this.#claims++;
    const { dirty, lock } = this.#top;
    void Promise.resolve(lock.lock(part.offset, part.length)).then((hold) => {
      this.#queued = false;
      this.#claims--;
      const range = dirty.nextRun(part.offset, part.length);
      if (range?.offset === part.offset && !this.#cancelled) {
        this.#begin(range, hold, range.length);
        return;
      }
      hold.release();
      if (this.#claims === 0) this.#onIdle?.();
      this.#listener.onEnded(0, 0);
    });
  }

  #begin(range: DiskRange, hold: RangeHold, dataBytes: number): void {
    const { dirty } = this.#top;
    const before = dirty.bitmap.dirtyBytes;
    dirty.clear(range.offset, range.length);
    const credit = before - dirty.bitmap.dirtyBytes;
    const claim: Claim = { range, hold, dataBytes, unspentBytes: 0, credit };
    this.#claims++;
    this.#inFlightBytes += dataBytes;
    this.creditInFlight += credit;
    this.#listener.onClaimed(dataBytes);
    const copied = this.#isPlain(claim) ? this.#copyPlain(claim) : this.#copyClaim(claim);
    void copied.then(() => {
      claim.hold.release();
      this.#claims--;
      this.#inFlightBytes -= claim.dataBytes;
      this.creditInFlight -= claim.credit;
      if (this.#claims === 0) this.#onIdle?.();
      this.#listener.onEnded(claim.credit, claim.unspentBytes);
    });
  }

  /** Takes back what a claim has not done. */
  #markAgain(claim: Claim, range: DiskRange): void {
    const { dirty, size } = this.#top;
    dirty.mark(range.offset, range.length);
    // Not by how much more is dirty now: a client, or another claim, may have marked it before.
    const touched = wholeUnits(range, dirty.bitmap.granularity, size);
    const lost = Math.min(claim.credit, touched.length);
    claim.credit -= lost;
    this.creditInFlight -= lost;
  }

  /**
   * Copies a claim, or as much of it as has at most `dataBytes` of data, and marks the rest again.
   * Does not fail: errors go to the listener.
   */
  async #copyClaim(claim: Claim): Promise<void> {
    const { range } = claim;
    // Nothing is read at once: this is still the burst, and copies are counted apart from it.
    const extents = await this.#extentsOf(range);
    const end = range.offset + range.length;
    const parts: Piece[] = [];
    let at = range.offset;
    claim.unspentBytes = claim.dataBytes;
    for (const extent of extents) {
      if (claim.unspentBytes === 0) break;
      const isFree = extent.zero && this.#zeroesAreFree();
      const length = isFree ? extent.length : Math.min(extent.length, claim.unspentBytes);
      if (!isFree) claim.unspentBytes -= length;
      const { offset, zero } = extent;
      parts.push({ offset, length, zero });
      at = offset + length;
    }
    if (at < end) {
      this.#markAgain(claim, { offset: at, length: end - at });
      // Who looks for work would have to find that all of it is held.
      claim.hold.shorten(at);
      this.#cursor = Math.min(this.#cursor, at);
    }
    this.#adapt(extents, range);
    const work = this.#piecesOf(parts);
    const next = work.values();
    const lanes: Promise<void>[] = [];
    while (lanes.length < Math.min(LANES_MAX, work.length)) lanes.push(this.#copyAll(claim, next));
    await Promise.all(lanes);
  }

  /** Zeroes in one request each, data in pieces that memory and the event loop can bear. */
  #piecesOf(parts: readonly Piece[]): Piece[] {
    const pieceBytes = Math.max(PIECE_BYTES_MAX, this.#top.dirty.clusterBytes);
    const work: Piece[] = [];
    for (const part of parts) {
      const { zero } = part;
      if (zero || part.length <= pieceBytes) work.push(part);
      else {
        for (const { offset, length } of pieces(part.offset, part.length, pieceBytes)) {
          work.push({ offset, length, zero });
        }
      }
    }
    return work;
  }

  /** A few written bytes are data: there is nothing to ask, nor to divide. */
  #isPlain({ range, dataBytes }: Claim): boolean {
    const askedFromBytes = Math.min(this.#top.dirty.bitmap.granularity, ZERO_BLOCK_BYTES);
    return range.length < askedFromBytes && range.length <= dataBytes;
  }

  /** As `#copyClaim`: many small writes are copied one by one. */
  async #copyPlain(claim: Claim): Promise<void> {
    // Not at once either.
    await undefined;
    this.#zeroBytes = 0;
    const { offset, length } = claim.range;
    await this.#copyAll(claim, [{ offset, length, zero: false }].values());
  }

  /** Of one unit at least: a part of it would be dirty again. */
  async #extentsOf(range: DiskRange): Promise<readonly Extent[]> {
    const { clusterBytes, unitBytes } = this.#top.dirty;
    const extents = await extentsOf(this.#top.child, range, EXTENTS_MAX, unitBytes);
    return extentsInUnits(extents, clusterBytes, range);
  }

  #adapt(extents: readonly Extent[], range: DiskRange): void {
    const first = extents[0]!;
    const allZero = first.zero && first.length === range.length;
    this.#zeroBytes =
      allZero && this.#zeroesAreFree()
        ? Math.min(2 * Math.max(this.#zeroBytes, range.length), this.#zeroBytesMax)
        : 0;
  }

  /** As QEMU: where the target has to be sent every zero they count as data. */
  #zeroesAreFree(): boolean {
    return this.#target().features.cheapZero;
  }

  /** One after the other. What cannot be copied is marked again, then told of. */
  async #copyAll(claim: Claim, pieces: Iterable<Piece>): Promise<void> {
    for (const piece of pieces) {
      if (!this.#listener.wantsCopies) {
        this.#markAgain(claim, piece);
        continue;
      }
      try {
        await (piece.zero ? this.#zero(piece) : this.#data(piece));
      } catch (error) {
        if (!(error instanceof SideError)) throw error;
        const { offset, length } = piece;
        this.#markAgain(claim, piece);
        const doing = `Cannot copy ${length} bytes at ${offset} to the mirror's target`;
        this.#listener.onError(error.side, asBlockError(error.cause, doing), { offset, length });
      }
    }
  }

  async #zero(range: DiskRange): Promise<void> {
    this.#top.unflushed.add(range.offset, range.length);
    try {
      const mayAsk = this.#top.skipsZeroes && this.#top.trustsTarget;
      if (mayAsk && (await readsAsZero(this.#target(), range))) return;
      this.#assertWanted();
      const startMs = this.#clock.now();
      await this.#target().writeZeroes(range.offset, range.length, this.#top.zeroFlags);
      this.#noteZeroed(this.#clock.now() - startMs);
    } catch (error) {
      throw new SideError('target', error);
    }
    this.#top.unflushed.add(range.offset, range.length);
  }

  #noteZeroed(tookMs: number): void {
    this.#zeroBytesMax =
      tookMs > ZERO_MS_MAX
        ? SLOW_ZERO_CLAIM_BYTES_MAX
        : Math.min(2 * this.#zeroBytesMax, ZERO_CLAIM_BYTES_MAX);
  }

  async #data(range: DiskRange): Promise<void> {
    // Before and after: a server that is lost in between may take with it what it answered.
    this.#top.unflushed.add(range.offset, range.length);
    const bytes = this.#fileBytes(range);
    await (bytes === undefined ? this.#viaMemory(range) : this.#fromFile(range.offset, bytes));
    this.#top.unflushed.add(range.offset, range.length);
    this.copiedBytes += range.length;
  }

  /** What can go to the target from where the source has it. */
  #fileBytes({ offset, length }: DiskRange): FileBytes | undefined {
    if (!this.#target().takesFile(offset, length)) return undefined;
    return this.#top.child.fileBytes(offset, length, true);
  }

  async #fromFile(offset: number, bytes: FileBytes): Promise<void> {
    const write = () => this.#dutyCycle.copy(() => this.#target().writeFile(offset, bytes));
    await this.#inWindow(bytes.length, write).finally(() => bytes.end());
    if (bytes.failure !== undefined) throw new SideError('source', bytes.failure);
  }

  async #viaMemory({ offset, length }: DiskRange): Promise<void> {
    const buffer = this.#pool.take(length);
    const data = buffer.subarray(0, length);
    try {
      await this.#readSource(offset, data);
      await this.#inWindow(length, () => this.#writeTarget(offset, data));
    } finally {
      this.#pool.give(buffer);
    }
  }

  async #inWindow(bytes: number, write: () => Completion): Promise<void> {
    const sentAt = this.#window.sent(bytes);
    try {
      this.#assertWanted();
      await write();
    } catch (error) {
      this.#window.lost(bytes);
      throw new SideError('target', error);
    }
    this.#window.taken(bytes, sentAt);
  }

  #assertWanted(): void {
    if (this.#cancelled) throw new BlockError('ECANCELED', 'The mirror was cancelled');
  }

  async #readSource(offset: number, data: Buffer): Promise<void> {
    try {
      const done = this.#dutyCycle.copy(() => this.#top.child.read(offset, data));
      if (done !== undefined) await done;
    } catch (error) {
      throw new SideError('source', error);
    }
  }

  #writeTarget(offset: number, data: Buffer): Promise<void> {
    const blockBytes = Math.max(ZERO_BLOCK_BYTES, this.#top.dirty.clusterBytes);
    return allEnded(
      this.#dutyCycle.copy(() =>
        zeroRuns(data, blockBytes).map((run) => this.#writeRun(offset, data, run)),
      ),
    );
  }

  async #writeRun(start: number, data: Buffer, { offset, length, zero }: ZeroRun): Promise<void> {
    if (zero) await this.#target().writeZeroes(start + offset, length, this.#top.zeroFlags);
    else await this.#target().write(start + offset, data.subarray(offset, offset + length));
  }
}
