import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { DirtyMap } from '../../src/bitmap/dirty-map.ts';

const PART = 4096;

/** A map and a plain set of dirty parts that must always agree. */
function makePair(size: number, granularity: number) {
  const map = new DirtyMap(new DirtyBitmap({ size, granularity }));
  map.refine();
  return { map, model: new Set<number>() };
}

function runsOf(map: DirtyMap, size: number, lengthMax: number) {
  const parts: number[] = [];
  for (let at = 0; at < size; ) {
    const run = map.nextRun(at, lengthMax);
    if (run === undefined) break;
    expect(run.offset).toBeGreaterThanOrEqual(at);
    expect(run.length).toBeGreaterThan(0);
    expect(run.length).toBeLessThanOrEqual(Math.max(lengthMax, PART));
    for (let part = run.offset; part < run.offset + run.length; part += PART) {
      parts.push(part / PART);
    }
    at = run.offset + run.length;
  }
  return parts;
}

const step = fc.record({
  clear: fc.boolean(),
  at: fc.nat(0x7fffffff),
  length: fc.nat(0x7fffffff),
});

describe('DirtyMap against a set of parts', () => {
  it('knows exactly the parts that were marked and not cleared', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 4096, 65536, 300_001, 1_048_576 + 5),
        fc.constantFrom(8192, 65536),
        fc.array(step, { maxLength: 30 }),
        fc.constantFrom(4096, 5000, 65536, 1e9),
        (size, granularity, steps, lengthMax) => {
          const { map, model } = makePair(size, granularity);
          for (const { clear, at, length } of steps) {
            const start = at % size;
            const end = Math.min(size, start + 1 + (length % 200_000));
            if (clear) {
              const first = Math.floor(start / PART) * PART;
              const last = Math.min(size, Math.ceil(end / PART) * PART);
              map.clear(first, last - first);
              for (let part = first; part < last; part += PART) model.delete(part / PART);
            } else {
              map.mark(start, end - start);
              for (let part = Math.floor(start / PART); part * PART < end; part++) model.add(part);
            }
            const expected = [...model].sort((a, b) => a - b);
            expect(runsOf(map, size, lengthMax)).toEqual(expected);
            const granules = new Set(
              expected.map((part) => Math.floor((part * PART) / granularity)),
            );
            expect(map.bitmap.count).toBe(granules.size * granularity);
            expect(map.isDirty(start)).toBe(model.has(Math.floor(start / PART)));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([4096, 65536])(
    'finds nothing at the end of a disk of odd size, granularity %d',
    (granularity) => {
      const { map } = makePair(100_001, granularity);
      map.mark(100_000, 1);
      const run = map.nextRun(0, 1e9)!;
      expect(run.offset + run.length).toBe(100_001);
      expect(map.nextRun(100_001, 1e9)).toBeUndefined();
      expect(map.bitmap.nextDirty(100_001)).toBeUndefined();
    },
  );

  it('takes bits that the bitmap has before it is refined for whole granules', () => {
    const bitmap = new DirtyBitmap({ size: 1 << 20, granularity: 65536 });
    bitmap.set(65536, 1);
    const map = new DirtyMap(bitmap);
    map.refine();
    map.mark(65536, 10);
    expect(map.nextRun(0, 1 << 20)).toEqual({ offset: 65536, length: 65536 });
  });
});
