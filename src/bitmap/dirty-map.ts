import { assert } from '../util/assert.ts';
import { KiB } from '../util/limits.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';

/**
 * What a mirror still has to copy: a dirty bitmap as operators see it, and below its granularity
 * a finer map of which *parts* of a dirty granule were written, so that a 4 KiB write sends 4 KiB
 * and not 64.
 *
 * A granule has at most 16 parts of at least 4 KiB, kept as one 16-bit mask. Mask 0 in a dirty
 * granule means "all of it": a fresh bitmap needs no masks at all. The bitmap's bit is the truth,
 * the mask only narrows it; whoever forgets the map keeps a bitmap that is right, only coarser.
 *
 * While a node also records in the bitmap it sets bits without knowing of the masks, so masks are
 * kept only from `refine` on, when the mirror sees every write itself.
 *
 * What is handed out to be copied is whole *units*: parts, or clusters of the target where they are
 * larger. A cluster of which any part is dirty is copied in whole.
 */
const PARTS_MAX = 16;
const PART_BYTES_MIN = 4 * KiB;
const PAGE_GRANULES = 4096;

export interface DirtyRange {
  offset: number;
  length: number;
}

export class DirtyMap {
  readonly bitmap: DirtyBitmap;
  readonly #partBytes: number;
  readonly #partsPerGranule: number;
  readonly #all: number;
  /** Clusters of the target, a power of two; 1 when nobody has told. */
  readonly clusterBytes: number;
  #masks: (Uint16Array | undefined)[] | undefined;

  constructor(bitmap: DirtyBitmap, clusterBytes = 1) {
    this.bitmap = bitmap;
    this.clusterBytes = clusterBytes;
    const { granularity } = bitmap;
    this.#partBytes = Math.min(granularity, Math.max(PART_BYTES_MIN, granularity / PARTS_MAX));
    this.#partsPerGranule = granularity / this.#partBytes;
    this.#all = 2 ** this.#partsPerGranule - 1;
  }

  /** Marks are whole multiples of this (but for the end of the disk). */
  get partBytes(): number {
    return this.#masks === undefined ? this.bitmap.granularity : this.#partBytes;
  }

  /** Copies are whole multiples of this (but for the end of the disk). */
  get unitBytes(): number {
    return Math.max(this.partBytes, this.clusterBytes);
  }

  /** From here on nobody else sets bits in the bitmap: remember parts. */
  refine(): void {
    if (this.#partsPerGranule > 1) this.#masks = [];
  }

  /** Marks every part that the range touches. */
  mark(offset: number, length: number): void {
    if (length === 0) return;
    if (this.#masks === undefined) {
      this.bitmap.set(offset, length);
      return;
    }
    const { granularity } = this.bitmap;
    const end = offset + length;
    const first = Math.floor(offset / granularity);
    const last = Math.floor((end - 1) / granularity);
    this.#markIn(first, offset, Math.min(end, (first + 1) * granularity));
    if (last === first) return;
    this.#forgetMasks(first + 1, last);
    if (last > first + 1) {
      this.bitmap.set((first + 1) * granularity, (last - first - 1) * granularity);
    }
    this.#markIn(last, last * granularity, end);
  }

  /** Cleans the range, which is whole parts (or ends with the disk): before its data is read. */
  clear(offset: number, length: number): void {
    if (length === 0) return;
    const end = offset + length;
    assert(offset % this.partBytes === 0, 'clear starts at a part');
    assert(end % this.partBytes === 0 || end === this.bitmap.size, 'clear ends at a part');
    if (this.#masks === undefined) {
      this.bitmap.reset(offset, length);
      return;
    }
    const { granularity } = this.bitmap;
    const wholeFirst = Math.ceil(offset / granularity) * granularity;
    const wholeEnd = end === this.bitmap.size ? end : Math.floor(end / granularity) * granularity;
    if (wholeFirst >= wholeEnd) {
      // No granule is covered in whole; the range lies in one granule or across one border.
      this.#clearIn(offset, Math.min(end, wholeFirst));
      if (end > wholeFirst) this.#clearIn(wholeFirst, end);
      return;
    }
    if (offset < wholeFirst) this.#clearIn(offset, wholeFirst);
    this.#forgetMasks(wholeFirst / granularity, Math.ceil(wholeEnd / granularity));
    this.bitmap.reset(wholeFirst, wholeEnd - wholeFirst);
    if (wholeEnd < end) this.#clearIn(wholeEnd, end);
  }

  /** Whether the part that holds this byte is dirty. */
  isDirty(offset: number): boolean {
    if (!this.bitmap.isDirty(offset)) return false;
    const granule = Math.floor(offset / this.bitmap.granularity);
    const part = Math.floor((offset % this.bitmap.granularity) / this.#partBytes);
    return (this.#mask(granule) & (1 << part)) !== 0;
  }

  /**
   * The next units from `offset` (a multiple of them) on that hold something dirty, at most
   * `lengthMax` bytes of them or one.
   */
  nextRun(offset: number, lengthMax: number): DirtyRange | undefined {
    const run = this.#nextRunOfParts(offset, lengthMax);
    const unit = this.unitBytes;
    if (run === undefined || unit === this.partBytes) return run;
    const start = Math.floor(run.offset / unit) * unit;
    const limit = start + Math.max(Math.floor(lengthMax / unit), 1) * unit;
    const end = Math.ceil((run.offset + run.length) / unit) * unit;
    return { offset: start, length: Math.min(end, limit, this.bitmap.size) - start };
  }

  /** The next dirty bytes from `offset` on, in whole parts, at most `lengthMax` of them or one. */
  #nextRunOfParts(offset: number, lengthMax: number): DirtyRange | undefined {
    const run = this.bitmap.nextDirtyRun(offset, lengthMax);
    if (run === undefined || this.#masks === undefined) return run;
    const { granularity, size } = this.bitmap;
    let granule = Math.floor(run.offset / granularity);
    let start = this.#firstDirty(granule, Math.max(0, offset - run.offset));
    while (start === undefined) {
      const next = this.bitmap.nextDirty((granule + 1) * granularity);
      if (next === undefined) return undefined;
      granule = next / granularity;
      start = this.#firstDirty(granule, 0);
    }
    const limit = Math.min(size, start + Math.max(lengthMax, this.#partBytes));
    const end = this.#runEnd(granule, start, limit);
    return { offset: start, length: end - start };
  }

  /** Where the dirty bytes that begin at `start` in `granule` end, at most `limit`. */
  #runEnd(granule: number, start: number, limit: number): number {
    const { granularity } = this.bitmap;
    let at = start;
    for (let index = granule; at < limit; index++) {
      const base = index * granularity;
      if (!this.bitmap.isDirty(base)) break;
      const mask = this.#mask(index);
      const from = (at - base) / this.#partBytes;
      if (mask === this.#all) {
        at = base + granularity;
        continue;
      }
      let part = from;
      while (part < this.#partsPerGranule && (mask & (1 << part)) !== 0) part++;
      at = base + part * this.#partBytes;
      if (part < this.#partsPerGranule) break;
    }
    const whole = Math.floor(limit / this.#partBytes) * this.#partBytes;
    return Math.min(at, limit === this.bitmap.size ? limit : whole);
  }

  /** First dirty byte of a dirty granule at or after `from` (bytes inside it). */
  #firstDirty(granule: number, from: number): number | undefined {
    const mask = this.#mask(granule);
    for (let part = Math.floor(from / this.#partBytes); part < this.#partsPerGranule; part++) {
      if ((mask & (1 << part)) !== 0) {
        return granule * this.bitmap.granularity + part * this.#partBytes;
      }
    }
    return undefined;
  }

  /** Parts of one granule that [start, end) touches. */
  #partsOf(granule: number, start: number, end: number): number {
    const base = granule * this.bitmap.granularity;
    const first = Math.floor((start - base) / this.#partBytes);
    const last = Math.floor((end - 1 - base) / this.#partBytes);
    return (2 ** (last + 1) - 1) & ~(2 ** first - 1);
  }

  #markIn(granule: number, start: number, end: number): void {
    const parts = this.#partsOf(granule, start, end);
    const base = granule * this.bitmap.granularity;
    const before = this.bitmap.isDirty(base) ? this.#mask(granule) : 0;
    this.#setMask(granule, before | parts);
    if (before === 0) this.bitmap.set(base, 1);
  }

  /** [start, end) lies in one granule, in whole parts. */
  #clearIn(start: number, end: number): void {
    const { granularity, size } = this.bitmap;
    const granule = Math.floor(start / granularity);
    const base = granule * granularity;
    if (!this.bitmap.isDirty(base)) return;
    // The last granule may hang over the end of the disk: its parts out there do not count.
    const existing = this.#partsOf(granule, base, Math.min(base + granularity, size));
    const after = this.#mask(granule) & existing & ~this.#partsOf(granule, start, end);
    this.#setMask(granule, after);
    if (after === 0) this.bitmap.reset(base, Math.min(granularity, size - base));
  }

  /** Dirty parts of a dirty granule. */
  #mask(granule: number): number {
    const mask = this.#masks?.[Math.floor(granule / PAGE_GRANULES)]?.[granule % PAGE_GRANULES];
    return mask === undefined || mask === 0 ? this.#all : mask;
  }

  #setMask(granule: number, mask: number): void {
    const masks = this.#masks!;
    const index = Math.floor(granule / PAGE_GRANULES);
    const stored = mask === this.#all ? 0 : mask;
    let page = masks[index];
    if (page === undefined) {
      if (stored === 0) return;
      page = new Uint16Array(PAGE_GRANULES);
      masks[index] = page;
    }
    page[granule % PAGE_GRANULES] = stored;
  }

  /** Granules [first, end) are dirty or clean in whole. */
  #forgetMasks(first: number, end: number): void {
    const masks = this.#masks!;
    for (let at = first; at < end; ) {
      const index = Math.floor(at / PAGE_GRANULES);
      const stop = Math.min(end, (index + 1) * PAGE_GRANULES);
      const base = index * PAGE_GRANULES;
      // Only pages that are there are written to: the others may be millions.
      if (masks[index] !== undefined) {
        if (stop - at === PAGE_GRANULES) masks[index] = undefined;
        else masks[index].fill(0, at - base, stop - base);
      }
      at = stop;
    }
  }
}
