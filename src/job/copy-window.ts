import type { Clock } from '../util/clock.ts';

/**
 * How many bytes of background copies may be on their way to the target. A link that is long and
 * fat is only full with bandwidth x delay of them under way; on a short one more than a little
 * falls out of the processor's cache for nothing. So the window follows twice the product of what
 * the target takes and the shortest time that it took for a piece, between two bounds: where the
 * link is what limits, the time grows with the queue and the shortest one does not, so the window
 * stays; where the window is what limits, it doubles with every round trip. (The idea is BBR's.)
 */
const EPOCH_MS_MIN = 20;
/** After this the shortest time is forgotten and looked for anew: routes change. */
const MEMORY_MS = 10_000;

export class CopyWindow {
  /** What may be under way now. */
  bytes: number;
  readonly #clock: Clock;
  readonly #bytesMin: number;
  readonly #bytesMax: number;
  #shortestMs = Number.POSITIVE_INFINITY;
  #stretchStart: number;
  #epochStart: number;
  #epochBytes = 0;

  constructor(clock: Clock, bounds: { readonly bytesMin: number; readonly bytesMax: number }) {
    this.#clock = clock;
    this.#bytesMin = bounds.bytesMin;
    this.#bytesMax = bounds.bytesMax;
    this.bytes = bounds.bytesMin;
    this.#stretchStart = clock.now();
    this.#epochStart = clock.now();
  }

  /** The target has taken `bytes` of data, `tookMs` after they were sent. */
  taken(bytes: number, tookMs: number): void {
    if (this.#bytesMin === this.#bytesMax) return;
    const now = this.#clock.now();
    this.#epochBytes += bytes;
    this.#shortestMs = Math.min(this.#shortestMs, tookMs);
    const epochMs = now - this.#epochStart;
    if (epochMs < Math.max(EPOCH_MS_MIN, this.#shortestMs)) return;
    const wanted = (2 * this.#epochBytes * this.#shortestMs) / epochMs;
    this.bytes = Math.min(Math.max(wanted, this.#bytesMin), this.#bytesMax);
    this.#epochStart = now;
    this.#epochBytes = 0;
    if (now - this.#stretchStart >= MEMORY_MS) this.#startAgain(now);
  }

  /** Small, so that the queue drains: the next pieces show how short the route is by itself. */
  #startAgain(now: number): void {
    this.#stretchStart = now;
    this.#shortestMs = Number.POSITIVE_INFINITY;
    this.bytes = this.#bytesMin;
  }
}
