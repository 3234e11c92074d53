import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { RefusedError } from '../util/errors.ts';
import { KiB, MiB } from '../util/limits.ts';
import { BlockNode, type Extent, ZERO_MAY_UNMAP } from './node.ts';

/**
 * A disk in memory, for tests, demonstrations and throw-away targets. It is sparse: pages appear
 * with the first write to them and go with a discard, so a disk of 1 TiB costs what was written.
 * Every request finishes at once.
 */
const PAGE_BYTES = 64 * KiB;

export class MemoryNode extends BlockNode {
  override readonly driver = 'x-memory';
  override size: number;
  override readOnly: boolean;
  override readonly limits = {
    requestAlignment: 1,
    preferredBytes: 4 * KiB,
    transferBytesMax: 64 * MiB,
  };
  override readonly features = { discard: true, fastZero: true, cheapZero: true, freeStatus: true };
  readonly #pages = new Map<number, Buffer>();
  /** Which pages are there, in the form that finds the next one without visiting those between. */
  readonly #allocated: DirtyBitmap;

  constructor(name: string, options: { size: number; readOnly?: boolean }) {
    super(name);
    this.size = options.size;
    this.readOnly = options.readOnly ?? false;
    this.#allocated = new DirtyBitmap({ size: options.size, granularity: PAGE_BYTES });
  }

  override setReadOnly(readOnly: boolean): void {
    this.readOnly = readOnly;
  }

  override async resize(size: number): Promise<void> {
    if (this.readOnly) throw new RefusedError('Image is read-only');
    // The rest of the last page as well: it would come back when the disk grows again.
    if (size < this.size) this.#zero(size, this.size - size, true);
    this.#allocated.resize(size);
    this.size = size;
  }

  override async close(): Promise<void> {
    this.#pages.clear();
  }

  protected override doRead(offset: number, buffer: Buffer): void {
    for (let done = 0; done < buffer.length; ) {
      const at = offset + done;
      const start = at % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - start, buffer.length - done);
      const page = this.#pages.get((at - start) / PAGE_BYTES);
      if (page === undefined) buffer.fill(0, done, done + count);
      else page.copy(buffer, done, start, start + count);
      done += count;
    }
  }

  protected override doWrite(offset: number, data: Buffer): void {
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const start = at % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - start, data.length - done);
      data.copy(this.#page((at - start) / PAGE_BYTES), start, done, done + count);
      done += count;
    }
  }

  /** What is not there stays away, also without MAY_UNMAP: it costs nothing and reads as zeroes. */
  protected override doWriteZeroes(offset: number, length: number, flags: number): void {
    this.#zero(offset, length, (flags & ZERO_MAY_UNMAP) !== 0);
  }

  protected override doDiscard(offset: number, length: number): void {
    this.#zero(offset, length, true);
  }

  protected override doFlush(): void {}

  protected override doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] {
    const extents: Extent[] = [];
    for (const { offset: at, length: bytes, dirty } of this.#allocated.extents(offset, length)) {
      extents.push({ offset: at, length: bytes, hole: !dirty, zero: !dirty });
      if (extents.length === extentsMax) break;
    }
    return extents;
  }

  #zero(offset: number, length: number, free: boolean): void {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const first = this.#allocated.nextDirty(at);
      if (first === undefined || first >= end) return;
      const from = Math.max(first, offset);
      const pageEnd = Math.min(first + PAGE_BYTES, this.size);
      const to = Math.min(pageEnd, end);
      const index = first / PAGE_BYTES;
      if (free && from === first && to === pageEnd) {
        this.#pages.delete(index);
        this.#allocated.reset(first, pageEnd - first);
      } else {
        this.#pages.get(index)!.fill(0, from - first, to - first);
      }
      at = to;
    }
  }

  #page(index: number): Buffer {
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = Buffer.alloc(PAGE_BYTES);
      this.#pages.set(index, page);
      this.#allocated.set(index * PAGE_BYTES, 1);
    }
    return page;
  }
}
