import { assert } from './assert.ts';

/**
 * Bytes that several share. Who finds too few of them left waits, first come first served: a large
 * share is not overtaken for ever by small ones.
 */
export class ByteBudget {
  readonly #totalBytes: number;
  #freeBytes: number;
  readonly #waiting: { readonly bytes: number; readonly resolve: () => void }[] = [];

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
    this.#freeBytes = totalBytes;
  }

  /** Resolves when `bytes` (no more than there are in all) are the caller's, until `give`. */
  take(bytes: number): Promise<void> {
    assert(bytes <= this.#totalBytes, 'a share fits into its budget');
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, resolve });
      this.#serve();
    });
  }

  give(bytes: number): void {
    this.#freeBytes += bytes;
    this.#serve();
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (next.bytes > this.#freeBytes) return;
      this.#freeBytes -= next.bytes;
      this.#waiting.shift();
      next.resolve();
    }
  }
}
