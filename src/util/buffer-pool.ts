/**
 * Buffers that are used again, in power-of-two sizes. A fresh 1 MiB buffer costs a page fault every
 * 4 KiB and work for the garbage collector; a used one is still in the processor's cache, which is
 * why the last one given back is the first one handed out.
 */
const SMALLEST_BYTES = 4096;

export class BufferPool {
  readonly #keptBytesMax: number;
  readonly #allocate: (bytes: number) => Buffer;
  readonly #free = new Map<number, Buffer[]>();
  #keptBytes = 0;

  /**
   * Keeps at most `keptBytesMax` bytes for later; what comes back beyond that is let go. `allocate`
   * is for memory with an address of a certain kind.
   */
  constructor(keptBytesMax: number, allocate: (bytes: number) => Buffer = Buffer.allocUnsafeSlow) {
    this.#keptBytesMax = keptBytesMax;
    this.#allocate = allocate;
  }

  /** A buffer of at least `bytes`, with whatever it last held. */
  take(bytes: number): Buffer {
    const size = sizeClass(bytes);
    const kept = this.#free.get(size)?.pop();
    if (kept === undefined) return this.#allocate(size);
    this.#keptBytes -= size;
    return kept;
  }

  /** Takes back a whole buffer of `take`, not a view of one. Nobody may hold on to it. */
  give(buffer: Buffer): void {
    const size = buffer.length;
    if (this.#keptBytes + size > this.#keptBytesMax) return;
    let list = this.#free.get(size);
    if (list === undefined) {
      list = [];
      this.#free.set(size, list);
    }
    list.push(buffer);
    this.#keptBytes += size;
  }
}

function sizeClass(bytes: number): number {
  let size = SMALLEST_BYTES;
  while (size < bytes) size *= 2;
  return size;
}
