import type { Clock } from '../util/clock.ts';

/**
 * A speed limit in slices of 100 ms, as QEMU's: work is charged after it was issued, and work
 * beyond the slice's quota stretches the slice, so that the mean never exceeds the limit.
 */
const SLICE_MS = 100;

export class RateLimit {
  readonly #clock: Clock;
  #bytesPerSecond = 0;
  #sliceStart = 0;
  #dispatched = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** 0 is no limit. */
  setSpeed(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
    this.#sliceStart = this.#clock.now();
    this.#dispatched = 0;
  }

  /** Bytes that make one slice: longer pieces of work overshoot. Infinity without a limit. */
  get quotaBytes(): number {
    if (this.#bytesPerSecond === 0) return Number.POSITIVE_INFINITY;
    return Math.max(1, (this.#bytesPerSecond * SLICE_MS) / 1000);
  }

  charge(bytes: number): void {
    this.#renew();
    this.#dispatched += bytes;
  }

  /** Takes back what was charged and did not travel (zeroes). */
  refund(bytes: number): void {
    this.#dispatched = Math.max(0, this.#dispatched - bytes);
  }

  /** Milliseconds until more work may be issued; 0 means now. */
  delayMs(): number {
    if (this.#bytesPerSecond === 0) return 0;
    this.#renew();
    if (this.#dispatched < this.quotaBytes) return 0;
    return Math.max(1, this.#sliceEnd() - this.#clock.now());
  }

  #sliceEnd(): number {
    const slices = Math.max(1, this.#dispatched / this.quotaBytes);
    return this.#sliceStart + slices * SLICE_MS;
  }

  #renew(): void {
    const now = this.#clock.now();
    if (now < this.#sliceEnd()) return;
    this.#sliceStart = now;
    this.#dispatched = 0;
  }
}
