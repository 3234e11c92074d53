import type { Clock } from '../util/clock.ts';

/**
 * Decides whether a buffered write may run on the event loop. Into the page cache it takes
 * microseconds, far less than a way through the thread pool; but when the kernel throttles dirty
 * pages or has to read a block first, the same call waits for the disk, and everybody with it. No
 * flag tells beforehand (RWF_NOWAIT fails for buffered writes on most file systems), so the last
 * one tells: after a slow write all go to the pool for a while, then one is tried again.
 */

/** A write that took longer waited for something: 1 MiB into the cache takes 0.1 to 0.3 ms. */
const SLOW_MS = 2;
/** How long writes stay in the pool after the first slow one... */
const REST_MS_MIN = 100;
/** ...doubled each time the next try is slow as well, up to this: one stall a second at worst. */
const REST_MS_MAX = 1000;

export class WriteBreaker {
  readonly #clock: Clock;
  #restMs = REST_MS_MIN;
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
    if (now - this.#startedAt <= SLOW_MS) {
      this.#restMs = REST_MS_MIN;
      return;
    }
    this.#poolUntil = now + this.#restMs;
    this.#restMs = Math.min(this.#restMs * 2, REST_MS_MAX);
  }
}
