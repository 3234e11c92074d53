import type { Clock } from '../util/clock.ts';

/** How fast a counter grows, over about the last second. */
const WINDOW_MS = 1000;

export class Throughput {
  readonly #clock: Clock;
  #windowStart: number;
  #windowCount = 0;
  #count = 0;
  #rate = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#windowStart = clock.now();
  }

  note(count: number): void {
    this.#count = count;
    const now = this.#clock.now();
    const elapsed = now - this.#windowStart;
    if (elapsed < WINDOW_MS) return;
    this.#rate = ((count - this.#windowCount) * 1000) / elapsed;
    this.#windowStart = now;
    this.#windowCount = count;
  }

  /** Bytes per second; within the first second, of what there has been so far. */
  bytesPerSecond(): number {
    this.note(this.#count);
    if (this.#rate > 0) return this.#rate;
    const elapsed = Math.max(1, this.#clock.now() - this.#windowStart);
    return ((this.#count - this.#windowCount) * 1000) / elapsed;
  }
}
