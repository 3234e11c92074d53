import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';

// More granules than one page of the bitmap holds, and a tail that is shorter than a granule.
const GRANULARITY = 512;
const SIZE = 70_000 * GRANULARITY + 100;
const GRANULES = 70_001;

const offset = fc.oneof(
  fc.nat(SIZE - 1),
  fc.nat(GRANULES - 1).map((granule) => granule * GRANULARITY),
  // Around the borders of pages and words.
  fc
    .tuple(fc.constantFrom(0, 32, 32_768, 65_536), fc.integer({ min: -2, max: 2 }))
    .map(([granule, shift]) => Math.max(0, granule + shift) * GRANULARITY),
);
const length = fc.oneof(fc.nat(20 * GRANULARITY), fc.nat(SIZE));
const range = fc
  .tuple(offset, length)
  .map(([at, bytes]) => ({ offset: at, length: Math.min(bytes, SIZE - at) }));

const change = fc.oneof(
  { weight: 5, arbitrary: range.map((at) => ({ kind: 'set' as const, ...at })) },
  { weight: 4, arbitrary: range.map((at) => ({ kind: 'reset' as const, ...at })) },
  { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const, offset: 0, length: 0 }) },
);
const changes = fc.array(change, { minLength: 1, maxLength: 12 });
interface Change {
  kind: 'set' | 'reset' | 'clear';
  offset: number;
  length: number;
}

/** The same bitmap as a set of granules. */
class Model {
  readonly dirty = new Set<number>();

  apply({ kind, offset: at, length: bytes }: Change): void {
    if (kind === 'clear') {
      this.dirty.clear();
      return;
    }
    const first = Math.floor(at / GRANULARITY);
    const end = bytes === 0 ? first : Math.ceil((at + bytes) / GRANULARITY);
    for (let granule = first; granule < end; granule++) {
      if (kind === 'set') this.dirty.add(granule);
      else this.dirty.delete(granule);
    }
  }

  /** The first granule from `from` on that is dirty (or clean); the number of granules if none. */
  next(from: number, dirty: boolean): number {
    let granule = from;
    while (granule < GRANULES && this.dirty.has(granule) !== dirty) granule++;
    return granule;
  }
}

/** Resetting takes whole granules only, so the range is widened to them. */
function apply(bitmap: DirtyBitmap, model: Model, change: Change): void {
  let { offset: at, length: bytes } = change;
  if (change.kind === 'set') bitmap.set(at, bytes);
  else if (change.kind === 'clear') bitmap.clear();
  else if (bytes > 0) {
    const end = Math.min(SIZE, Math.ceil((at + bytes) / GRANULARITY) * GRANULARITY);
    at = Math.floor(at / GRANULARITY) * GRANULARITY;
    bytes = end - at;
    bitmap.reset(at, bytes);
  }
  model.apply({ ...change, offset: at, length: bytes });
}

function both(list: readonly Change[], granularity = GRANULARITY) {
  const bitmap = new DirtyBitmap({ size: SIZE, granularity });
  const model = new Model();
  for (const each of list) apply(bitmap, model, each);
  return { bitmap, model };
}

function granulesOf(bitmap: DirtyBitmap): number[] {
  const granules: number[] = [];
  let at = bitmap.nextDirty(0);
  while (at !== undefined) {
    granules.push(at / GRANULARITY);
    at = bitmap.nextDirty(at + GRANULARITY);
  }
  return granules;
}

const sorted = (set: ReadonlySet<number>) => [...set].sort((a, b) => a - b);

describe('dirty bitmap, compared with a set of granules', () => {
  it('holds the same granules and counts them', () => {
    fc.assert(
      fc.property(changes, (list) => {
        const { bitmap, model } = both(list);
        expect(granulesOf(bitmap)).toEqual(sorted(model.dirty));
        expect(bitmap.count).toBe(model.dirty.size * GRANULARITY);
        expect(bitmap.isClean).toBe(model.dirty.size === 0);
      }),
    );
  });

  it('says of any byte whether it is dirty', () => {
    fc.assert(
      fc.property(changes, offset, (list, at) => {
        const { bitmap, model } = both(list);
        expect(bitmap.isDirty(at)).toBe(model.dirty.has(Math.floor(at / GRANULARITY)));
      }),
    );
  });

  it('finds the next run, no longer than asked for', () => {
    fc.assert(
      fc.property(changes, offset, fc.integer({ min: 1, max: SIZE }), (list, from, lengthMax) => {
        const { bitmap, model } = both(list);
        const first = model.next(Math.floor(from / GRANULARITY), true);
        const run = bitmap.nextDirtyRun(from, lengthMax);
        if (first === GRANULES) {
          expect(run).toBeUndefined();
          return;
        }
        const granulesMax = Math.ceil(lengthMax / GRANULARITY);
        const end = Math.min(model.next(first, false), first + granulesMax);
        expect(run).toEqual({
          offset: first * GRANULARITY,
          length: Math.min(end * GRANULARITY, SIZE) - first * GRANULARITY,
        });
      }),
    );
  });

  it('partitions any range into extents that alternate', () => {
    fc.assert(
      fc.property(changes, range, (list, { offset: at, length: bytes }) => {
        const { bitmap, model } = both(list);
        let end = at;
        let last: boolean | undefined;
        for (const extent of bitmap.extents(at, bytes)) {
          expect(extent.offset).toBe(end);
          expect(extent.length).toBeGreaterThan(0);
          expect(extent.dirty).not.toBe(last);
          const first = Math.floor(extent.offset / GRANULARITY);
          end = extent.offset + extent.length;
          expect(model.dirty.has(first)).toBe(extent.dirty);
          expect(model.next(first, !extent.dirty) * GRANULARITY).toBeGreaterThanOrEqual(end);
          last = extent.dirty;
        }
        expect(end).toBe(at + bytes);
      }),
    );
  });

  it('merges bitmaps of any granularity', () => {
    const granularity = fc.constantFrom(512, 1024, 4096, 65_536, 2 ** 31);
    fc.assert(
      fc.property(changes, changes, granularity, (into, from, coarse) => {
        const { bitmap, model } = both(into);
        const source = new DirtyBitmap({ size: SIZE, granularity: coarse });
        for (const { kind, offset: at, length: bytes } of from) {
          if (kind !== 'set') continue;
          source.set(at, bytes);
          if (bytes === 0) continue;
          const start = Math.floor(at / coarse) * coarse;
          const end = Math.min(SIZE, Math.ceil((at + bytes) / coarse) * coarse);
          model.apply({ kind, offset: start, length: end - start });
        }
        bitmap.merge(source);
        expect(granulesOf(bitmap)).toEqual(sorted(model.dirty));
        expect(bitmap.count).toBe(model.dirty.size * GRANULARITY);
      }),
      { numRuns: 40 },
    );
  });

  it('comes back from a snapshot', () => {
    fc.assert(
      fc.property(changes, changes, (before, after) => {
        const { bitmap, model } = both(before);
        const saved = bitmap.snapshot();
        for (const each of after) apply(bitmap, new Model(), each);
        bitmap.restore(saved);
        expect(granulesOf(bitmap)).toEqual(sorted(model.dirty));
        expect(bitmap.count).toBe(model.dirty.size * GRANULARITY);
        expect(bitmap.sha256()).toBe(saved.sha256());
      }),
    );
  });
});
