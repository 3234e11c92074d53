import { createHash } from 'node:crypto';
import { assert } from '../util/assert.ts';

/**
 * One bit a *granule*: set means "differs, or may differ". Bits live in pages that are allocated
 * when their first bit is set, so an empty bitmap of any size costs a few words, and a search
 * skips clean pages without looking inside.
 *
 * The flags are QEMU's (docs/interop/bitmaps.rst): `enabled` (QMP `recording`) means that the node
 * marks its writes here; `busy` means that a job or an export owns it and commands must keep away.
 */
const PAGE_WORDS = 1024;
const PAGE_BITS = PAGE_WORDS * 32;

interface Page {
  readonly words: Uint32Array;
  /** Set bits in this page. */
  count: number;
}

/**
 * A run of dirty bytes; the last one ends at the end of the disk even when that splits a granule.
 */
export interface DirtyRun {
  offset: number;
  length: number;
}

export class DirtyBitmap {
  /** Undefined for a job's private bitmap. */
  readonly name: string | undefined;
  /** Length of the disk in bytes; changes with `resize`. */
  size: number;
  /** Bytes that one bit stands for: a power of two. */
  readonly granularity: number;
  /** The node records writes in this bitmap. Change it through `BlockNode.setRecording`. */
  enabled: boolean;
  busy = false;
  /** Found half-written after a crash: can only be removed. */
  inconsistent = false;
  readOnly = false;

  #granules: number;
  readonly #pages: (Page | undefined)[];
  #dirtyGranules = 0;
  /** The last page that became empty: a mirror that keeps up sets and clears the same few bits. */
  #spare: Page | undefined;

  constructor(options: {
    name?: string | undefined;
    size: number;
    granularity: number;
    enabled?: boolean;
  }) {
    const { size, granularity } = options;
    assert(granularity >= 512 && Number.isInteger(Math.log2(granularity)), 'granularity');
    this.name = options.name;
    this.size = size;
    this.granularity = granularity;
    this.enabled = options.enabled ?? true;
    this.#granules = Math.ceil(size / granularity);
    this.#pages = new Array(Math.ceil(this.#granules / PAGE_BITS)).fill(undefined);
  }

  /** Dirty bytes as QMP counts them: bits x granularity, which can exceed an unaligned disk. */
  get count(): number {
    return this.#dirtyGranules * this.granularity;
  }

  /** Bytes of the disk in dirty granules: the last one may hang over its end. */
  get dirtyBytes(): number {
    const { count, size } = this;
    if (count === 0 || !this.isDirty(size - 1)) return count;
    return count - (this.#granules * this.granularity - size);
  }

  get isClean(): boolean {
    return this.#dirtyGranules === 0;
  }

  /** Marks every granule that the byte range touches: setting rounds out. */
  set(offset: number, length: number): void {
    if (length === 0) return;
    assert(offset >= 0 && offset + length <= this.size, 'bitmap range');
    const first = Math.floor(offset / this.granularity);
    const last = Math.floor((offset + length - 1) / this.granularity);
    if (first === last) this.#setBit(first);
    else this.#fill(first, last + 1, true);
  }

  /** Clears granules; the range must be aligned, or end at the end of the disk. */
  reset(offset: number, length: number): void {
    if (length === 0) return;
    const end = offset + length;
    assert(offset % this.granularity === 0, 'reset starts at a granule');
    assert(end % this.granularity === 0 || end === this.size, 'reset ends at a granule');
    this.#fill(offset / this.granularity, Math.ceil(end / this.granularity), false);
  }

  clear(): void {
    this.#pages.fill(undefined);
    this.#dirtyGranules = 0;
  }

  /** Follows its disk: what is new is clean, what is gone is forgotten. */
  resize(size: number): void {
    const granules = Math.ceil(size / this.granularity);
    if (granules < this.#granules) this.#fill(granules, this.#granules, false);
    const before = this.#pages.length;
    this.#pages.length = Math.ceil(granules / PAGE_BITS);
    if (this.#pages.length > before) this.#pages.fill(undefined, before);
    this.#granules = granules;
    this.size = size;
  }

  /** Whether the granule that holds this byte is dirty. */
  isDirty(offset: number): boolean {
    return this.#bit(Math.floor(offset / this.granularity));
  }

  /** Start of the first dirty granule at or after the one that holds `offset`. */
  nextDirty(offset: number): number | undefined {
    const granule = this.#nextDirtyGranule(offset);
    return granule === undefined ? undefined : granule * this.granularity;
  }

  /**
   * The next dirty bytes from `offset` on, at most `lengthMax` of them (rounded up to granules).
   */
  nextDirtyRun(offset: number, lengthMax: number): DirtyRun | undefined {
    const first = this.#nextDirtyGranule(offset);
    if (first === undefined) return undefined;
    const cap = Math.min(this.#granules, first + Math.ceil(lengthMax / this.granularity));
    const end = this.#next(first, false, cap) ?? cap;
    const start = first * this.granularity;
    return { offset: start, length: Math.min(end * this.granularity, this.size) - start };
  }

  /** Extents of dirty and clean bytes that partition the range: for block status and queries. */
  *extents(offset: number, length: number): Generator<DirtyRun & { dirty: boolean }> {
    const end = offset + length;
    assert(end <= this.size, 'extents of the disk');
    const limit = Math.min(this.#granules, Math.ceil(end / this.granularity));
    for (let at = offset; at < end; ) {
      const granule = Math.floor(at / this.granularity);
      const dirty = this.#bit(granule);
      const change = this.#next(granule, !dirty, limit) ?? limit;
      const stop = Math.min(change * this.granularity, end);
      yield { offset: at, length: stop - at, dirty };
      at = stop;
    }
  }

  /** Adds what `source` has dirty. Granularities may differ; sizes may not. */
  merge(source: DirtyBitmap): void {
    assert(source.size === this.size, 'merge of equal sizes');
    if (source.granularity === this.granularity) {
      this.#mergePages(source);
      return;
    }
    for (let at: number | undefined = 0; at !== undefined && at < this.size; ) {
      const run = source.nextDirtyRun(at, source.size);
      if (run === undefined) break;
      this.set(run.offset, run.length);
      at = run.offset + run.length;
    }
  }

  /** A copy of the bits, to put back with `restore` when a transaction fails. */
  snapshot(): DirtyBitmap {
    const copy = new DirtyBitmap({ size: this.size, granularity: this.granularity });
    copy.merge(this);
    return copy;
  }

  restore(saved: DirtyBitmap): void {
    this.clear();
    this.merge(saved);
  }

  /**
   * As QEMU's x-debug-block-dirty-bitmap-sha256: the bit array, least significant bit first, in
   * 64-bit little-endian words, at least one of them; lower-case hex.
   */
  sha256(): string {
    const words = Math.max(1, Math.ceil(this.#granules / 64)) * 2;
    const hash = createHash('sha256');
    const zeroes = Buffer.alloc(PAGE_WORDS * 4);
    for (let word = 0, page = 0; word < words; word += PAGE_WORDS, page++) {
      const bytes = Math.min(PAGE_WORDS, words - word) * 4;
      const held = this.#pages[page]?.words;
      const view = held ? Buffer.from(held.buffer, held.byteOffset, held.byteLength) : zeroes;
      hash.update(view.subarray(0, bytes));
    }
    return hash.digest('hex');
  }

  #bit(granule: number): boolean {
    const page = this.#pages[Math.floor(granule / PAGE_BITS)];
    if (page === undefined) return false;
    const bit = granule % PAGE_BITS;
    return (page.words[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  #setBit(granule: number): void {
    const page = this.#page(Math.floor(granule / PAGE_BITS));
    const bit = granule % PAGE_BITS;
    const word = bit >>> 5;
    const mask = 1 << (bit & 31);
    if ((page.words[word]! & mask) !== 0) return;
    page.words[word]! |= mask;
    page.count++;
    this.#dirtyGranules++;
  }

  #page(index: number): Page {
    let page = this.#pages[index];
    if (page === undefined) {
      page = this.#spare ?? { words: new Uint32Array(PAGE_WORDS), count: 0 };
      this.#spare = undefined;
      this.#pages[index] = page;
    }
    return page;
  }

  /** Granules are the same: word by word, however many runs they form. */
  #mergePages(source: DirtyBitmap): void {
    for (const [index, from] of source.#pages.entries()) {
      if (from === undefined) continue;
      const page = this.#page(index);
      const before = page.count;
      for (let word = 0; word < PAGE_WORDS; word++) {
        const old = page.words[word]!;
        const merged = old | from.words[word]!;
        page.words[word] = merged;
        page.count += popCount(merged) - popCount(old);
      }
      this.#dirtyGranules += page.count - before;
    }
  }

  /** Sets or clears granules [first, end), page by page and word by word. */
  #fill(first: number, end: number, value: boolean): void {
    for (let at = first; at < end; ) {
      const index = Math.floor(at / PAGE_BITS);
      const stop = Math.min(end, (index + 1) * PAGE_BITS);
      if (value || this.#pages[index] !== undefined) {
        const page = this.#page(index);
        const base = index * PAGE_BITS;
        const changed = fillWords(page.words, at - base, stop - base, value);
        page.count += changed;
        this.#dirtyGranules += changed;
        if (page.count === 0) {
          this.#pages[index] = undefined;
          this.#spare = page;
        }
      }
      at = stop;
    }
  }

  /** The end of a disk may lie in the middle of its last granule, which is not after it. */
  #nextDirtyGranule(offset: number): number | undefined {
    return offset >= this.size
      ? undefined
      : this.#next(Math.floor(offset / this.granularity), true, this.#granules);
  }

  /** First granule of [from, limit) whose bit is `value`; what lies behind it is not looked at. */
  #next(from: number, value: boolean, limit: number): number | undefined {
    for (let at = from; at < limit; ) {
      const index = Math.floor(at / PAGE_BITS);
      const page = this.#pages[index];
      const base = index * PAGE_BITS;
      if (page === undefined) {
        if (!value) return at;
      } else {
        const bit = nextInWords(page.words, at - base, value, Math.min(limit - base, PAGE_BITS));
        if (bit !== undefined) return base + bit;
      }
      at = base + PAGE_BITS;
    }
    return undefined;
  }
}

/**
 * Sets or clears bits [first, end) of one page; returns by how much the number of set bits changed.
 */
function fillWords(words: Uint32Array, first: number, end: number, value: boolean): number {
  let changed = 0;
  for (let word = first >>> 5; word * 32 < end; word++) {
    const low = Math.max(first - word * 32, 0);
    const high = Math.min(end - word * 32, 32);
    const mask = high - low === 32 ? 0xffffffff : ((1 << (high - low)) - 1) << low;
    const before = words[word]!;
    const after = value ? before | mask : before & ~mask;
    changed += popCount(after) - popCount(before);
    words[word] = after;
  }
  return changed;
}

/** First bit of [from, limit) of one page that is `value`. */
function nextInWords(
  words: Uint32Array,
  from: number,
  value: boolean,
  limit: number,
): number | undefined {
  const flip = value ? 0 : 0xffffffff;
  let word = from >>> 5;
  let bits = (words[word]! ^ flip) & (0xffffffff << (from & 31));
  while (bits === 0) {
    if (++word * 32 >= limit) return undefined;
    bits = words[word]! ^ flip;
  }
  const bit = word * 32 + 31 - Math.clz32(bits & -bits);
  return bit < limit ? bit : undefined;
}

function popCount(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555);
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
  return (((n + (n >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}
