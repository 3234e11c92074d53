import type { Clock, Timer } from '../../src/util/clock.ts';

/** A clock that stands still until the test moves it. */
export class FakeClock implements Clock {
  #now = 1000;
  #timers: { due: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  /** How long the thread has been idle: whoever tests that says so. */
  idle = 0;

  idleMs(): number {
    return this.idle;
  }

  slept(ms: number): void {
    this.idle += ms;
  }

  /** Timers that have not run yet. */
  get timers(): number {
    return this.#timers.length;
  }

  wallMicroseconds(): number {
    return this.#now * 1000;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { due: this.#now + delayMs, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  defer(callback: () => void): Timer {
    return this.after(0, callback);
  }

  settle(callback: () => void): void {
    this.defer(callback);
  }

  /** Nobody who asks waits by this clock. */
  hasDeferred(): boolean {
    return false;
  }

  /** Lets `ms` pass: every timer that is due by then runs at its own time, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.reduce<{ due: number; callback: () => void } | undefined>(
        (first, timer) => (first === undefined || timer.due < first.due ? timer : first),
        undefined,
      );
      if (next === undefined || next.due > end) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.due);
      next.callback();
    }
    this.#now = end;
  }
}
