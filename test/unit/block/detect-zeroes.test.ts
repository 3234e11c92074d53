import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isZero, zeroRuns } from '../../../src/block/detect-zeroes.ts';

describe('isZero', () => {
  it.each([0, 1, 7, 512, 4096, 65_537])('finds a single bit among %i zeroes', (length) => {
    const buffer = Buffer.alloc(length + 2, 0xff)
      .subarray(1, length + 1)
      .fill(0);
    expect(isZero(buffer)).toBe(true);
    for (const at of [0, 1, length >> 1, length - 1]) {
      if (at < 0 || at >= length) continue;
      buffer[at] = 1;
      expect(isZero(buffer)).toBe(false);
      buffer[at] = 0;
    }
  });

  it('tells zeroes from another value that repeats', () => {
    expect(isZero(Buffer.alloc(4096, 0x5a))).toBe(false);
  });

  it('looks at the part it is asked about', () => {
    const buffer = Buffer.from([1, 0, 0, 0, 2]);
    expect(isZero(buffer, 1, 4)).toBe(true);
    expect(isZero(buffer, 0, 4)).toBe(false);
    expect(isZero(buffer, 1, 5)).toBe(false);
  });
});

describe('zeroRuns', () => {
  it('partitions any buffer into runs that alternate and say the truth', () => {
    const GRANULE = 16;
    const bytes = fc
      .array(fc.constantFrom(0, 0, 0, 1), { maxLength: 12 })
      .chain((granules) =>
        fc
          .nat(GRANULE - 1)
          .map((tail) =>
            Buffer.concat([
              ...granules.map((value) => Buffer.alloc(GRANULE).fill(value, GRANULE - 1)),
              Buffer.alloc(tail),
            ]),
          ),
      );
    fc.assert(
      fc.property(bytes, (buffer) => {
        let end = 0;
        let last: boolean | undefined;
        for (const { offset, length, zero } of zeroRuns(buffer, GRANULE)) {
          expect(offset).toBe(end);
          expect(zero).not.toBe(last);
          for (let at = offset; at < offset + length; at += GRANULE) {
            const granule = buffer.subarray(at, Math.min(at + GRANULE, offset + length));
            expect(granule.every((byte) => byte === 0)).toBe(zero);
          }
          end = offset + length;
          last = zero;
        }
        expect(end).toBe(buffer.length);
      }),
    );
  });
});
