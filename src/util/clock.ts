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
  /** Wall-clock time in microseconds since the epoch, for event time stamps only. */
  wallMicroseconds(): number;
  /** Runs `callback` once, `delayMs` from now. */
  after(delayMs: number, callback: () => void): Timer;
  /** Runs `callback` when the I/O that is ready now has been served. */
  defer(callback: () => void): Timer;
}

const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  wallMicroseconds: () => Math.round((performance.timeOrigin + performance.now()) * 1000),
  after(delayMs, callback) {
    // Node takes anything longer for 1 ms.
    const timer = setTimeout(callback, Math.min(delayMs, TIMER_MS_MAX));
    return { cancel: () => clearTimeout(timer) };
  },
  defer(callback) {
    const immediate = setImmediate(callback);
    return { cancel: () => clearImmediate(immediate) };
  },
};

/** Resolves `delayMs` from now. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
