import { Attempts } from '../util/attempts.ts';
import type { Clock } from '../util/clock.ts';
import { BUSY_POLL_MISSES_MAX, BUSY_POLL_MS } from '../util/limits.ts';

/**
 * Keeps the event loop awake for a moment after bytes have come in, because more tend to follow: a
 * processor that went to sleep takes 20 to 50 us to come back, which is more than a request takes
 * (4 KiB writes at depth 1 with a write-blocking mirror: 1.7 times as many; QEMU's `poll-max-ns` is
 * the same idea). The loop turns without waiting meanwhile, so everything else is served as ever.
 *
 * A poll that ends before anything came was in vain: then arrivals go by without one, more of them
 * each time, so that a disk in slow use costs next to nothing.
 */
export class BusyPoll {
  readonly #clock: Clock;
  #polling = false;
  /** In milliseconds of the clock. */
  #until = 0;
  #hit = false;
  readonly #polls = new Attempts(BUSY_POLL_MISSES_MAX);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Bytes have arrived. */
  arrived(): void {
    if (this.#polling) {
      this.#hit = true;
      this.#until = this.#clock.now() + BUSY_POLL_MS;
    } else if (this.#polls.isDue()) {
      this.#polling = true;
      this.#hit = false;
      this.#until = this.#clock.now() + BUSY_POLL_MS;
      this.#clock.defer(this.#turn);
    }
  }

  /** Once a turn of the event loop. */
  readonly #turn = (): void => {
    if (this.#clock.now() < this.#until) {
      this.#clock.defer(this.#turn);
      return;
    }
    this.#polling = false;
    if (this.#hit) this.#polls.succeeded();
    else this.#polls.failed();
  };
}
