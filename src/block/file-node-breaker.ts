import type { Clock } from '../util/clock.ts';

/**
 * Decides whether a buffered write may run on the event loop. Into the page cache it takes
 * microseconds, far less than a way through the thread pool; but when the kernel throttles dirty
 * pages or has to read a block first, the same call waits for the disk, and everybody with it. No
 * flag tells beforehand (RWF_NOWAIT fails for buffered writes on most file systems), so the last
 * one tells: after a slow write all go to the pool for a while, then one is tried again. The rest
 * is in proportion to the wait, so that a hiccup costs little and a stuck disk stops few others.
 */

/**
 * A write that took longer waited for something. Less can also be a busy processor's time slice.
 */
const SLOW_MS = 5;
/** The rest after a slow write, in multiples of its wait: waiting takes a tenth of our time... */
const REST_FACTOR_MIN = 8;
/** ...and less each time the next try is slow as well, down to a 250th... */
const REST_FACTOR_MAX = 256;
/** ...but a disk that is fast again is noticed after this long. */
const REST_MS_MAX = 10_000;

export class WriteBreaker {
  readonly #clock: Clock;
  #restFactor = REST_FACTOR_MIN;
  #poolUntil = Number.NEGATIVE_INFINITY;
  #startedAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True: write now, and call `end` when that is done. False: use the pool. */
  tryStart(): boolean {
    this.#startedAt = this.#clock.now();
    return this.#startedAt >= this.#poolUntil;
  }

  end(): void {
    const now = this.#clock.now();
    const tookMs = now - this.#startedAt;
    if (tookMs <= SLOW_MS) {
      this.#restFactor = REST_FACTOR_MIN;
      return;
    }
    this.#poolUntil = now + Math.min(tookMs * this.#restFactor, REST_MS_MAX);
    this.#restFactor = Math.min(this.#restFactor * 2, REST_FACTOR_MAX);
  }
}
