import { describe, expect, it } from 'vitest';
import { complaints, growth } from '../../bench/soak.ts';

/** Three a minute for an hour: `at` is in hours. */
function hourOf(mebibytes: (at: number) => number): number[] {
  return Array.from({ length: 180 }, (_, index) => mebibytes(index / 180) + (index % 4));
}

describe('memory under an hour of load', () => {
  it('is flat when it is, whatever the last sample says', () => {
    expect(growth([...hourOf(() => 100), 130], 60)).toBeCloseTo(0);
  });

  it('may take a step early', () => {
    expect(
      growth(
        hourOf((at) => (at < 0.3 ? 85 : 108)),
        60,
      ),
    ).toBeCloseTo(0);
  });

  it('grows by what leaks in an hour, however long it was measured', () => {
    const leaking = hourOf((at) => 100 + 12 * at);
    expect(growth(leaking, 60)).toBeCloseTo(12, 0);
    expect(growth(leaking, 30)).toBeCloseTo(24, 0);
    expect(growth([100], 1)).toBe(0);
  });

  it('may not grow, nor be more than is promised at any time', () => {
    expect(complaints(7.9, 160)).toEqual([]);
    expect(complaints(12, 161)).toEqual([
      'memory grows by 12 MiB an hour',
      '161 MiB of memory at most',
    ]);
  });
});
