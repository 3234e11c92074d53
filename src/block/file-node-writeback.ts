import type { Clock } from '../util/clock.ts';

/**
 * Whether the kernel is writing the page cache back to disks, asked at most every 50 ms. Long
 * writes that are made on the event loop meanwhile wait now and then: up to 56 to 77 ms (1 MiB,
 * depth 8, two cores, 450 MiB/s for 18 s), 32 to 34 ms with those writes in the pool.
 */
const ASK_MS = 50;

export class WritebackWatch {
  readonly #clock: Clock;
  readonly #ask: () => boolean;
  #askAt = Number.NEGATIVE_INFINITY;
  #isOn = false;

  constructor(clock: Clock, ask: () => boolean) {
    this.#clock = clock;
    this.#ask = ask;
  }

  get isOn(): boolean {
    const now = this.#clock.now();
    if (now >= this.#askAt) {
      this.#isOn = this.#ask();
      this.#askAt = now + ASK_MS;
    }
    return this.#isOn;
  }
}
