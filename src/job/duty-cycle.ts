import type { Clock } from '../util/clock.ts';

/**
 * How background work gives way: while clients write, each burst of copying is followed by a rest
 * at least 32 times as long, so clients keep most of the event loop and the mirror always gets
 * its share. Nobody else writing, there is no rest. (A burst is only the beginning of its copies:
 * their replies, and the target on the same machine, take several times as long.)
 */
const REST_PER_WORK = 32;
const REST_MS_MIN = 1;

export class DutyCycle {
  readonly #clock: Clock;
  #restUntil = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds that are left of the rest. */
  restMs(): number {
    return Math.max(0, this.#restUntil - this.#clock.now());
  }

  /** Runs one burst of work and, if clients are waiting, plans the rest after it. */
  burst(clientsWrite: boolean, work: () => void): void {
    const start = this.#clock.now();
    work();
    const end = this.#clock.now();
    if (clientsWrite) {
      this.#restUntil = end + Math.max(REST_MS_MIN, (end - start) * REST_PER_WORK);
    }
  }
}
