import type { Syscalls } from '../sys/syscalls.ts';
import type { Extent } from './node.ts';

/**
 * Where a file has data and where holes, asked of the file system and never by reading. The last
 * answer is kept, since a client walks through a long extent in many small steps; a change inside
 * it forgets it.
 */
interface Known {
  readonly offset: number;
  readonly end: number;
  readonly data: boolean;
}

export class FileExtents {
  readonly #syscalls: Syscalls;
  readonly #fd: number;
  #size: number;
  #known: Known | undefined;

  constructor(syscalls: Syscalls, fd: number, size: number) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.#size = size;
  }

  status(offset: number, length: number, extentsMax: number): readonly Extent[] {
    const extents: Extent[] = [];
    const end = offset + length;
    for (let at = offset; at < end && extents.length < extentsMax; ) {
      const known = this.#at(at);
      const stop = Math.min(known.end, end);
      extents.push({ offset: at, length: stop - at, hole: !known.data, zero: !known.data });
      at = stop;
    }
    return extents;
  }

  resize(size: number): void {
    this.#size = size;
    this.#known = undefined;
  }

  /** Something in the range has changed, or may have. */
  forget(offset: number, length: number): void {
    const known = this.#known;
    if (known !== undefined && offset < known.end && offset + length > known.offset) {
      this.#known = undefined;
    }
  }

  /** The range was written: data stays data, and to find its end again may take long. */
  wrote(offset: number, length: number): void {
    if (this.#known?.data === false) this.forget(offset, length);
  }

  #at(offset: number): Known {
    const known = this.#known;
    if (known !== undefined && offset >= known.offset && offset < known.end) return known;
    const { data, end } = this.#syscalls.extentAt(this.#fd, offset, this.#size);
    this.#known = { offset, end, data };
    return this.#known;
  }
}
