import type { Clock } from '../util/clock.ts';

/**
 * How background work gives way: while clients write, what it does on this thread is followed by a
 * rest 32 times as long, so clients keep most of the event loop and the mirror always gets its
 * share. Where clients leave the thread idle, it gets more: the rest is over as well when the
 * thread has had nothing to do for 8 times as long. (What else its work causes is not seen here:
 * what did not fit into the target's socket at once follows later, and a target on the same machine
 * takes several times as long.)
 */
const REST_PER_WORK = 32;
const IDLE_PER_WORK = 8;
const REST_MS_MIN = 1;
/** This process may have been stopped in the middle of its work. */
const REST_MS_MAX = 1000;
/** Clients of whom no burst has seen anything for so long are gone. */
const ALONE_AFTER_MS = 100;

/**
 * What is rested for where clients write: nothing at the end of a mirror, bursts (which look for
 * what is to be copied) where somebody waits for it, else also what copies do after their burst.
 */
export type RestsFor = 'nothing' | 'bursts' | 'everything';

export class DutyCycle {
  readonly #clock: Clock;
  #restsFor: RestsFor = 'nothing';
  /** Since the last burst. */
  #clientWrote = false;
  #aloneFrom = Number.NEGATIVE_INFINITY;
  /** When the rest is over at the latest, on the clock and of its idle time. */
  #restUntil = 0;
  #idleUntil = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds after which to ask again; 0 when the rest is over. */
  restMs(): number {
    const restMs = this.#restUntil - this.#clock.now();
    if (restMs <= 0) return 0;
    const idleMs = this.#idleUntil - this.#clock.idleMs();
    return idleMs <= 0 ? 0 : Math.min(restMs, Math.max(idleMs, REST_MS_MIN));
  }

  /** A client's write has ended. */
  clientWrote(): void {
    this.#clientWrote = true;
  }

  /**
   * Runs the work that begins copies, and tells it whether no client has written lately, nor is
   * about to (`clientWaits`). `restsFor` holds for it and for them if one has since the last burst.
   */
  burst<T>(restsFor: RestsFor, clientWaits: boolean, work: (isAlone: boolean) => T): T {
    const now = this.#clock.now();
    if (this.#clientWrote || clientWaits) this.#aloneFrom = now + ALONE_AFTER_MS;
    this.#restsFor = this.#clientWrote ? restsFor : 'nothing';
    this.#clientWrote = false;
    const isAlone = now >= this.#aloneFrom;
    return this.#restsFor === 'nothing' ? work(isAlone) : this.#run(() => work(isAlone));
  }

  /** Runs what a copy does until it is done, or waits for something. Not within a burst. */
  copy<T>(work: () => T): T {
    return this.#restsFor === 'everything' ? this.#run(work) : work();
  }

  #run<T>(work: () => T): T {
    const start = this.#clock.now();
    const result = work();
    const now = this.#clock.now();
    const idleNow = this.#clock.idleMs();
    const workedMs = now - start;
    const restMs = this.#restUntil - now;
    const idleMs = this.#idleUntil - idleNow;
    // What is left of an earlier rest is added to, unless it is over by either count.
    const resting = restMs > 0 && idleMs > 0;
    this.#restUntil = now + bounded((resting ? restMs : 0) + workedMs * REST_PER_WORK);
    this.#idleUntil = idleNow + bounded((resting ? idleMs : 0) + workedMs * IDLE_PER_WORK);
    return result;
  }
}

function bounded(ms: number): number {
  return Math.min(Math.max(ms, REST_MS_MIN), REST_MS_MAX);
}
