import type { LibraryHandle } from 'koffi';

/**
 * A range of a file as a map that nobody here touches but the kernel: a page that is no longer
 * there, or cannot be read, is an error of the call then, and not the end of the process.
 */
const PROT_READ = 1;
const MAP_SHARED = 1;
/** `MAP_FAILED`. */
const FAILED = -1;
/** MSG_DONTWAIT, MSG_NOSIGNAL. */
const SEND_FLAGS = 0x40 | 0x4000;

export class FileMap {
  readonly #pageBytes: number;
  readonly #mmap: (...args: unknown[]) => number;
  readonly #mincore: (...args: unknown[]) => number;
  readonly #send: (...args: unknown[]) => number;
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
    this.#send = libc.func('int64_t send(int to, int64_t at, size_t n, int flags)');
    this.#munmap = libc.func('int munmap(int64_t at, size_t n)');
  }

  /**
   * Whether all of the range has been read into the page cache, by mincore(2): cachestat(2) counts
   * pages too that are on their way from the disk, or could not be read. Who may not know is told
   * that it has.
   */
  isRead(fd: number, offset: number, length: number): boolean {
    const found = this.#mapped(fd, offset, length, (at, skipped) => {
      const pages = Math.ceil((skipped + length) / this.#pageBytes);
      if (this.#found.length < pages) this.#found = new Uint8Array(pages);
      if (this.#mincore(at, skipped + length, this.#found) !== 0) return FAILED;
      for (let page = 0; page < pages; page++) if ((this.#found[page]! & 1) === 0) return FAILED;
      return pages;
    });
    return found !== FAILED;
  }

  /** Copies to a socket what it takes at once: how many bytes; 0 for any failure. */
  sendTo(socket: number, fd: number, offset: number, length: number): number {
    const sent = this.#mapped(fd, offset, length, (at, skipped) =>
      this.#send(socket, at + skipped, length, SEND_FLAGS),
    );
    return Math.max(0, sent);
  }

  /** What `use` returns of the map and how far in it the range begins; `FAILED` without a map. */
  #mapped(
    fd: number,
    offset: number,
    length: number,
    use: (at: number, skipped: number) => number,
  ): number {
    const skipped = offset % this.#pageBytes;
    const bytes = skipped + length;
    const at = this.#mmap(0, bytes, PROT_READ, MAP_SHARED, fd, offset - skipped);
    if (at === FAILED) return FAILED;
    try {
      return use(at, skipped);
    } finally {
      this.#munmap(at, bytes);
    }
  }
}
