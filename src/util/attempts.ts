/**
 * When to try what costs little and saves much, but may be in vain: after each failure in a row
 * more occasions go by without. One success, and each occasion is taken again.
 */
export class Attempts {
  readonly #skippedMax: number;
  /** Occasions that go by after the latest failure, and how many of them are left. */
  #pause = 0;
  #left = 0;

  /** At most so many occasions in a row go by. */
  constructor(skippedMax: number) {
    this.#skippedMax = skippedMax;
  }

  /** Whether to try on this occasion; then `succeeded` or `failed` tells before the next one. */
  isDue(): boolean {
    if (this.#left === 0) return true;
    this.#left--;
    return false;
  }

  succeeded(): void {
    this.#pause = 0;
  }

  failed(): void {
    this.#pause = Math.min(2 * this.#pause + 1, this.#skippedMax);
    this.#left = this.#pause;
  }
}
