import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Extent } from '../../src/block/node.ts';
import { extentsInUnits, wholeUnits } from '../../src/block/whole-units.ts';

/** A partition of [offset, offset + sum of lengths). */
function partition(offset: number, runs: readonly (readonly [number, boolean])[]): Extent[] {
  let at = offset;
  return runs.map(([length, zero]) => {
    const extent = { offset: at, length, zero, hole: false };
    at += length;
    return extent;
  });
}

const runs = fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.boolean()), { minLength: 1 });

it('extents in units: in order, whole units, zero only where all of the unit was', () => {
  fc.assert(
    fc.property(runs, fc.nat(4), fc.nat(3), fc.nat(60), (given, log, index, unknown) => {
      const unit = 2 ** log;
      const offset = index * unit;
      const extents = partition(offset, given);
      const known = extents.at(-1)!.offset + extents.at(-1)!.length;
      const range = { offset, length: known + unknown - offset };
      const end = offset + range.length;
      const isZero = (at: number) =>
        extents.some((e) => e.zero && e.offset <= at && at < e.offset + e.length);
      const unitIsZero = (at: number) => {
        const last = Math.min(end, at + unit);
        for (let byte = at; byte < last; byte++) if (!isZero(byte)) return false;
        return true;
      };
      let at = offset;
      for (const extent of extentsInUnits(extents, unit, range)) {
        expect(extent.offset).toBe(at);
        expect(extent.length).toBeGreaterThan(0);
        at += extent.length;
        expect(at % unit === 0 || at === end).toBe(true);
        for (let each = extent.offset; each < at; each += unit) {
          expect(extent.zero).toBe(unitIsZero(each));
        }
      }
      // All that was answered for, and not more than the unit in which it ends.
      expect(at).toBeGreaterThanOrEqual(known);
      expect(at).toBeLessThan(known + unit);
    }),
  );
});

it('whole units around a range: the smallest, cut at the end of the disk', () => {
  fc.assert(
    fc.property(fc.nat(500), fc.integer({ min: 1, max: 300 }), fc.nat(6), (offset, length, log) => {
      const unit = 2 ** log;
      const size = offset + length + 7;
      const whole = wholeUnits({ offset, length }, unit, size);
      const end = whole.offset + whole.length;
      expect(whole.offset % unit).toBe(0);
      expect(end % unit === 0 || end === size).toBe(true);
      expect(offset - whole.offset).toBeGreaterThanOrEqual(0);
      expect(offset - whole.offset).toBeLessThan(unit);
      expect(end - (offset + length)).toBeGreaterThanOrEqual(0);
      expect(end - (offset + length)).toBeLessThan(unit);
    }),
  );
});
