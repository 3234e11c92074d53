import type { LibraryHandle } from 'koffi';

/**
 * Which pages of a file have been read into the page cache: by mincore(2), of a map that nobody
 * touches. cachestat(2) counts those too that are on their way from the disk, or could not be read.
 */
const PROT_READ = 1;
const MAP_SHARED = 1;
/** `MAP_FAILED`. */
const FAILED = -1;

export class PageResidency {
  readonly #pageBytes: number;
  readonly #mmap: (...args: unknown[]) => number;
  readonly #mincore: (...args: unknown[]) => number;
  readonly #munmap: (...args: unknown[]) => number;
  /** A byte a page; the lowest bit says whether it is there. */
  #found = new Uint8Array(0);

  constructor(libc: LibraryHandle, pageBytes: number) {
    this.#pageBytes = pageBytes;
    // Addresses are numbers, which they fit in.
    this.#mmap = libc.func(
      'int64_t mmap(int64_t at, size_t n, int protection, int flags, int fd, int64_t offset)',
    );
    this.#mincore = libc.func('int mincore(int64_t at, size_t n, void *found)');
    this.#munmap = libc.func('int munmap(int64_t at, size_t n)');
  }

  /** Whether all of the range can be read without a disk. Who may not know is told that it can. */
  has(fd: number, offset: number, length: number): boolean {
    const pageBytes = this.#pageBytes;
    const start = offset - (offset % pageBytes);
    const bytes = offset + length - start;
    const pages = Math.ceil(bytes / pageBytes);
    if (this.#found.length < pages) this.#found = new Uint8Array(pages);
    const at = this.#mmap(0, bytes, PROT_READ, MAP_SHARED, fd, start);
    if (at === FAILED) return false;
    const failed = this.#mincore(at, bytes, this.#found) !== 0;
    this.#munmap(at, bytes);
    if (failed) return false;
    for (let page = 0; page < pages; page++) if ((this.#found[page]! & 1) === 0) return false;
    return true;
  }
}
