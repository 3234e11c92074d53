/**
 * Bytes that arrived and were not asked for yet, as the chunks they arrived in. Taking a whole
 * first chunk or a part of it costs nothing (a view); only a piece that spans chunks is copied,
 * once.
 */
export class ByteQueue {
  #chunks: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The queue keeps the chunk itself: nobody may change it any more. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** Puts back what was taken and not used: it comes first again. */
  unshift(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.unshift(chunk);
    this.#length += chunk.length;
  }

  /** The next `bytes` bytes, which must be there. A view, unless they span chunks. */
  consume(bytes: number): Buffer {
    const first = this.#chunks[0];
    if (first === undefined || bytes > first.length) {
      const joined = Buffer.allocUnsafe(bytes);
      this.consumeInto(joined);
      return joined;
    }
    this.#length -= bytes;
    if (bytes === first.length) {
      this.#chunks.shift();
      return first;
    }
    this.#chunks[0] = first.subarray(bytes);
    return first.subarray(0, bytes);
  }

  /** Everything that is left of the first chunk, as it is; undefined when the queue is empty. */
  shift(): Buffer | undefined {
    const first = this.#chunks.shift();
    if (first !== undefined) this.#length -= first.length;
    return first;
  }

  /** Fills `target` with the next bytes; returns how many there were for it. */
  consumeInto(target: Buffer): number {
    let filled = 0;
    let whole = 0;
    for (const chunk of this.#chunks) {
      if (filled === target.length) break;
      const bytes = chunk.copy(target, filled);
      filled += bytes;
      if (bytes === chunk.length) whole++;
      else this.#chunks[whole] = chunk.subarray(bytes);
    }
    // Together: each shift of a long array moves all that is left of it.
    this.#chunks.splice(0, whole);
    this.#length -= filled;
    return filled;
  }

  clear(): void {
    this.#chunks = [];
    this.#length = 0;
  }
}
