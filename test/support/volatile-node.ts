import {
  BlockNode,
  type Completion,
  type DiskRange,
  type Extent,
  WRITE_FUA,
  ZERO_NO_FALLBACK,
} from '../../src/block/node.ts';
import { BlockError } from '../../src/util/errors.ts';
import type { Random } from './random.ts';
import { turns } from './turns.ts';

/** What a request does in one instant. */
type Step = () => void;

const SECTOR_BYTES = 512;
/** Before a request acts, and after it: fewer than these. */
const TURNS_END = 6;

/**
 * A disk behind a server that may crash, as a bad day has it. What is written is what it reads as
 * (`current`), but only a flush, or FUA, brings it to where a crash leaves it (`durable`). A flush
 * that fails has lost what was not there yet, and the next one knows nothing of it: so do kernels.
 * Whoever waits while the server crashes is reconnected, and asks again.
 *
 * Requests take some turns of the event loop before and after they act, or none, and fail at times,
 * having acted or not. All of it comes from `random`: a seed tells the same story each time.
 */
export class VolatileNode extends BlockNode {
  readonly driver = 'volatile';
  readonly size: number;
  readonly readOnly = false;
  readonly limits = { requestAlignment: 1, preferredBytes: 4096, transferBytesMax: 1 << 26 };
  /** Whether zeroes reach it without their bytes. */
  zeroesAreCheap = true;
  /** How many of its requests fail, in parts of one. */
  errorRate = 0;
  /** Nobody waits for it. */
  isPrompt = false;
  crashes = 0;
  /** Requests that have failed. */
  failures = 0;
  /** What it reads as. */
  readonly current: Buffer;
  /** What a crash leaves of that. */
  readonly durable: Buffer;
  readonly #random: Random;
  /** What has been written since the last flush, or has been lost by it. */
  #unflushed: DiskRange[] = [];
  /** Who waits, and how to end that. */
  readonly #inFlight = new Set<(error: BlockError) => void>();
  readonly #reconnectListeners = new Set<() => void>();

  constructor(name: string, size: number, random: Random) {
    super(name);
    this.size = size;
    this.#random = random;
    this.current = Buffer.alloc(size);
    this.durable = Buffer.alloc(size);
  }

  get features() {
    return { discard: true, fastZero: true, cheapZero: this.zeroesAreCheap, freeStatus: false };
  }

  /** It has been there for long. */
  preset(offset: number, data: Buffer): void {
    data.copy(this.current, offset);
    data.copy(this.durable, offset);
  }

  /** Its server crashes, and is there again. */
  crash(): void {
    this.crashes++;
    this.durable.copy(this.current);
    this.#unflushed = [];
    for (const listener of this.#reconnectListeners) listener();
  }

  /** From now on it does as it is told, at once. */
  calm(): void {
    this.errorRate = 0;
    this.isPrompt = true;
  }

  override watchReconnects(listener: () => void): () => void {
    this.#reconnectListeners.add(listener);
    return () => this.#reconnectListeners.delete(listener);
  }

  override cancelInFlight(): void {
    for (const reject of this.#inFlight) reject(new BlockError('ECANCELED', 'cancelled'));
    this.#inFlight.clear();
  }

  async close(): Promise<void> {}

  protected doRead(offset: number, buffer: Buffer): Completion {
    return this.#do(() => {
      this.current.copy(buffer, 0, offset, offset + buffer.length);
    });
  }

  protected doWrite(offset: number, data: Buffer, flags: number): Completion {
    return this.#put(() => this.#set(offset, data), flags);
  }

  protected doWriteZeroes(offset: number, length: number, flags: number): Completion {
    const refuses = (flags & ZERO_NO_FALLBACK) !== 0 && this.#random.chance(0.3);
    const act = () => {
      if (refuses) {
        // With FUA nobody can tell it from a flush that has failed behind the zeroes.
        if ((flags & WRITE_FUA) !== 0) this.failures++;
        throw new BlockError('ENOTSUP', `${this.name} cannot zero fast`);
      }
      this.#set(offset, Buffer.alloc(length));
    };
    return this.#put(act, flags);
  }

  /** All of it may read as zeroes then, or half of it, or nothing. */
  protected doDiscard(offset: number, length: number, flags: number): Completion {
    const bytes = Math.floor((length * this.#random.below(3)) / 2);
    return this.#put(() => this.#set(offset, Buffer.alloc(bytes)), flags);
  }

  protected doFlush(): Completion {
    return this.#do(() => this.#flush());
  }

  protected async doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): Promise<readonly Extent[]> {
    let extents: readonly Extent[] = [];
    await this.#do(() => {
      extents = this.#extents(offset, length, extentsMax);
    });
    return extents;
  }

  /** Extents may end anywhere, so that two may say the same. */
  #extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    const extents: Extent[] = [];
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const sectorEnd = Math.min(end, at - (at % SECTOR_BYTES) + SECTOR_BYTES);
      const zero = this.current.subarray(at, sectorEnd).every((byte) => byte === 0);
      const last = extents.at(-1);
      if (last?.zero === zero && this.#random.chance(0.98)) last.length += sectorEnd - at;
      else if (extents.length === extentsMax) break;
      else extents.push({ offset: at, length: sectorEnd - at, hole: zero, zero });
      at = sectorEnd;
    }
    return extents;
  }

  #set(offset: number, data: Buffer): void {
    data.copy(this.current, offset);
    this.#unflushed.push({ offset, length: data.length });
  }

  /** What a server without FUA does about it: a flush of all, which fails for all. */
  #put(act: Step, flags: number): Completion {
    if ((flags & WRITE_FUA) === 0) return this.#do(act);
    return this.#do(act, () => this.#flush());
  }

  #flush(): void {
    const written = this.#unflushed;
    this.#unflushed = [];
    if (this.#random.chance(2 * this.errorRate)) {
      this.failures++;
      throw new BlockError('EIO', `${this.name} has lost what it had not flushed`);
    }
    for (const { offset, length } of written) {
      this.current.copy(this.durable, offset, offset, offset + length);
    }
  }

  /** Returns nothing when it ended at once. */
  #do(...steps: readonly Step[]): Completion {
    if (this.isPrompt || this.#random.chance(0.3)) {
      for (const step of steps) this.#act(step);
      return;
    }
    return new Promise<void>((resolve, reject) => {
      this.#inFlight.add(reject);
      void this.#doLater(steps, () => !this.#inFlight.has(reject))
        .then(resolve, reject)
        .finally(() => this.#inFlight.delete(reject));
    });
  }

  async #doLater(steps: readonly Step[], isCancelled: () => boolean): Promise<void> {
    let isAnswered = false;
    while (!isAnswered && !isCancelled()) isAnswered = await this.#attempt(steps, isCancelled);
  }

  /** Returns whether the server was there until the answer. */
  async #attempt(steps: readonly Step[], isCancelled: () => boolean): Promise<boolean> {
    const crashes = this.crashes;
    for (const step of steps) {
      await turns(this.#random.below(TURNS_END));
      if (crashes !== this.crashes || isCancelled()) return false;
      this.#act(step);
    }
    await turns(this.#random.below(TURNS_END));
    return crashes === this.crashes;
  }

  #act(step: Step): void {
    const fails = this.#random.chance(this.errorRate);
    if (!fails || this.#random.chance(0.5)) step();
    if (!fails) return;
    this.failures++;
    throw new BlockError(this.#random.chance(0.3) ? 'ENOSPC' : 'EIO', `${this.name} is shaky`);
  }
}
