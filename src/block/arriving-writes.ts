import type { ArrivingWrite } from '../util/arrived.ts';

/**
 * What a node has written of WRITEs that are still arriving. Nothing of them is in flight below, so
 * nobody waits for them; but a bitmap that begins to record now has to know of them: their clients
 * are answered later.
 */
export class ArrivingWrites {
  readonly #ranges = new Map<ArrivingWrite, { readonly offset: number; length: number }>();

  /** The next part of a WRITE, behind those before it. */
  add(write: ArrivingWrite, offset: number, length: number): void {
    const known = this.#ranges.get(write);
    if (known !== undefined) {
      known.length = offset + length - known.offset;
      return;
    }
    this.#forgetEnded();
    this.#ranges.set(write, { offset, length });
  }

  ranges(): Iterable<{ readonly offset: number; readonly length: number }> {
    this.#forgetEnded();
    return this.#ranges.values();
  }

  #forgetEnded(): void {
    for (const write of this.#ranges.keys()) if (write.hasEnded) this.#ranges.delete(write);
  }
}
