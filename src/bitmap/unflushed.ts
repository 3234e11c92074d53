import { DirtyBitmap } from './dirty-bitmap.ts';

/**
 * What a target has answered but not yet flushed. A server that crashes may lose exactly this, so
 * after a reconnection it is dirty again (QEMU forgets it). A flush covers what was answered before
 * it began: writes that end while it runs wait for the next one.
 */
export class Unflushed {
  #written: DirtyBitmap;
  #flushing: DirtyBitmap;
  /** How often all of it may have been lost: a flush that was under way answers for nothing. */
  losses = 0;

  constructor(options: { size: number; granularity: number }) {
    this.#written = new DirtyBitmap(options);
    this.#flushing = new DirtyBitmap(options);
  }

  add(offset: number, length: number): void {
    this.#written.set(offset, length);
  }

  /**
   * A flush begins; call the result when it has ended. Flushes may overlap: only one of them
   * carries the ranges, and the others answer for nothing, which is safe.
   */
  beginFlush(): (succeeded: boolean) => void {
    if (!this.#flushing.isClean) return () => {};
    [this.#flushing, this.#written] = [this.#written, this.#flushing];
    return (succeeded) => {
      if (!succeeded) this.#written.merge(this.#flushing);
      this.#flushing.clear();
    };
  }

  /** Hands out every range once and forgets it: whoever takes them marks them dirty. */
  *takeAll(): Generator<{ offset: number; length: number }> {
    this.losses++;
    for (const bitmap of [this.#written, this.#flushing]) {
      for (let at = 0; at < bitmap.size; ) {
        const run = bitmap.nextDirtyRun(at, bitmap.size);
        if (run === undefined) break;
        yield run;
        at = run.offset + run.length;
      }
      bitmap.clear();
    }
  }
}
