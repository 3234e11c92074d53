import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';

it('a resized bitmap keeps what is left, and what is new is clean', () => {
  // Sizes on both sides of a page of the bitmap, which is 32768 granules.
  const anySize = fc.integer({ min: 1, max: 3 * 32_768 * 512 });
  fc.assert(
    fc.property(anySize, anySize, anySize, fc.nat(), (first, second, third, seed) => {
      const bitmap = new DirtyBitmap({ size: first, granularity: 512 });
      const last = seed % first;
      for (const at of [0, Math.floor(first / 2), last, first - 1]) bitmap.set(at, 1);
      const dirty = [0, Math.floor(first / 2), last, first - 1].map((at) => Math.floor(at / 512));
      bitmap.resize(second);
      bitmap.resize(third);
      const kept = Math.ceil(Math.min(first, second, third) / 512);
      const expected = new Set(dirty.filter((granule) => granule < kept));
      expect(bitmap.size).toBe(third);
      expect(bitmap.count).toBe(expected.size * 512);
      for (const granule of expected) expect(bitmap.isDirty(granule * 512)).toBe(true);
      bitmap.set(0, bitmap.size);
      expect(bitmap.count).toBe(Math.ceil(third / 512) * 512);
    }),
  );
});
