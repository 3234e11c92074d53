import type { Clock } from '../util/clock.ts';

/**
 * How background work gives way: while clients write, what it does on this thread is followed by a
 * rest 32 times as long, so clients keep most of the event loop and the mirror always gets its
 * share. (The rest of its work is not seen here: what did not fit into the target's socket at once
 * follows later, and a target on the same machine takes several times as long.)
 */
const REST_PER_WORK = 32;
const REST_MS_MIN = 1;
/** This process may have been stopped in the middle of its work. */
const REST_MS_MAX = 1000;

/**
 * What is rested for: nothing where no client writes, bursts (which look for what is to be copied)
 * where somebody waits for the mirror, else also what copies do after their burst.
 */
export type RestsFor = 'nothing' | 'bursts' | 'everything';

export class DutyCycle {
  readonly #clock: Clock;
  #restsFor: RestsFor = 'nothing';
  #restUntil = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds that are left of the rest. */
  restMs(): number {
    return Math.max(0, this.#restUntil - this.#clock.now());
  }

  /** Runs the work that begins copies; `restsFor` holds for it and for them. */
  burst(restsFor: RestsFor, work: () => void): void {
    this.#restsFor = restsFor;
    if (restsFor === 'nothing') {
      work();
    } else {
      this.#run(work);
      this.#restFor(REST_MS_MIN);
    }
  }

  /** Runs what a copy does until it is done, or waits for something. Not within a burst. */
  copy<T>(work: () => T): T {
    return this.#restsFor === 'everything' ? this.#run(work) : work();
  }

  #run<T>(work: () => T): T {
    const start = this.#clock.now();
    const result = work();
    const workedMs = this.#clock.now() - start;
    this.#restFor(this.restMs() + workedMs * REST_PER_WORK);
    return result;
  }

  /** For so long from now, if that is not planned anyway. */
  #restFor(ms: number): void {
    const until = this.#clock.now() + Math.min(ms, REST_MS_MAX);
    this.#restUntil = Math.max(this.#restUntil, until);
  }
}
