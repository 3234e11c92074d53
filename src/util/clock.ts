// By import: as globals these are found anew, by a getter, each time.
import { performance } from 'node:perf_hooks';
import process from 'node:process';

/**
 * Time as a parameter. Everything that waits takes a `Clock`, so that a simulator can own time;
 * only this file (and the command line) may touch the process's own timers.
 */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds, for measuring and for deadlines. */
  now(): number;
  /** Monotonic milliseconds in which this thread has slept because there was nothing to do. */
  idleMs(): number;
  /** Whoever has let this thread sleep, and not the event loop, says for how many milliseconds. */
  slept(ms: number): void;
  /** Wall-clock time in microseconds since the epoch, for event time stamps only. */
  wallMicroseconds(): number;
  /** Runs `callback` once, `delayMs` from now. */
  after(delayMs: number, callback: () => void): Timer;
  /** Runs `callback` when the I/O that is ready now has been served. */
  defer(callback: () => void): Timer;
  /**
   * Whether a callback that was deferred, or waits for effects, has still to run, or a deferred one
   * runs together with whoever asks: then its effects are still to come.
   */
  hasDeferred(): boolean;
  /**
   * For whoever has served I/O in place of the event loop: runs `callback` when that has had its
   * effects, which are the reactions to promises, their ticks, and then what was deferred.
   */
  settle(callback: () => void): void;
}

const TIMER_MS_MAX = 2 ** 31 - 1;

/** Milliseconds that the event loop did not see. */
let sleptMs = 0;

export const systemClock: Clock = {
  now: () => performance.now(),
  idleMs: () => performance.eventLoopUtilization().idle + sleptMs,
  slept(ms) {
    sleptMs += ms;
  },
  wallMicroseconds: () => Math.round((performance.timeOrigin + performance.now()) * 1000),
  after(delayMs, callback) {
    // Node takes anything longer for 1 ms.
    const timer = setTimeout(callback, Math.min(delayMs, TIMER_MS_MAX));
    return { cancel: () => clearTimeout(timer) };
  },
  defer: (callback) => new Deferred(callback),
  hasDeferred: () => Deferred.count + Deferred.settling > 0 || Deferred.begun > 1,
  settle(callback) {
    Deferred.settling++;
    const tick = () => {
      Deferred.settling--;
      Deferred.runAll(callback);
    };
    // Node goes on with ticks when no reaction is left; those of reactions come before the second.
    queueMicrotask(() => process.nextTick(() => process.nextTick(tick)));
  },
};

class Deferred implements Timer {
  /** How many have still to run. */
  static count = 0;
  /** How many wait for effects to run then. */
  static settling = 0;
  /** How many of those that run together have begun: what they asked for comes behind them all. */
  static begun = 0;
  /** In the order in which they came; cancelled ones are among them. */
  static #queue: Deferred[] = [];
  static #immediate: NodeJS.Immediate | undefined;
  #callback: (() => void) | undefined;

  constructor(callback: () => void) {
    this.#callback = callback;
    Deferred.count++;
    Deferred.#queue.push(this);
    Deferred.#runSoon();
  }

  cancel(): void {
    this.#take();
  }

  /** Those that are there now, and `last`; what they defer has its turn later. */
  static runAll(last: () => void = () => {}): void {
    const due = Deferred.#queue;
    Deferred.#queue = [];
    let next = 0;
    try {
      while (next < due.length) due[next++]!.#run();
    } finally {
      // One has thrown: that is no reason to forget the others.
      if (next < due.length) {
        Deferred.#queue.unshift(...due.slice(next));
        Deferred.#runSoon();
      }
      try {
        Deferred.begun++;
        last();
      } finally {
        Deferred.begun = 0;
      }
    }
  }

  static #runSoon(): void {
    Deferred.#immediate ??= setImmediate(() => {
      Deferred.#immediate = undefined;
      Deferred.runAll();
    });
  }

  #run(): void {
    const callback = this.#take();
    if (callback === undefined) return;
    Deferred.begun++;
    callback();
  }

  /** What is to run; once. */
  #take(): (() => void) | undefined {
    const callback = this.#callback;
    if (callback !== undefined) Deferred.count--;
    this.#callback = undefined;
    return callback;
  }
}

/** Resolves `delayMs` from now, or when `signal` says that nobody waits any more. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.after(delayMs, end);
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
  });
}

/** Resolves when `done` has settled, or `delayMs` from now; no timer keeps the process after it. */
export async function within(clock: Clock, delayMs: number, done: Promise<unknown>): Promise<void> {
  const settled = new AbortController();
  const over = sleep(clock, delayMs, settled.signal);
  await Promise.race([over, done.catch(() => {})]);
  settled.abort();
}
