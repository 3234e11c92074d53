import { describe, expect, it } from 'vitest';
import { Attempts } from '../../../src/util/attempts.ts';

/** Occasions that go by before the next attempt. */
function skipped(attempts: Attempts): number {
  let count = 0;
  while (!attempts.isDue()) count++;
  return count;
}

describe('attempts', () => {
  it('are made each time while they succeed', () => {
    const attempts = new Attempts(63);
    for (let time = 0; time < 10; time++) {
      expect(skipped(attempts)).toBe(0);
      attempts.succeeded();
    }
  });

  it('become rarer with each failure in a row, to a limit', () => {
    const attempts = new Attempts(10);
    const pauses = Array.from({ length: 6 }, () => {
      attempts.failed();
      return skipped(attempts);
    });
    expect(pauses).toEqual([1, 3, 7, 10, 10, 10]);
  });

  it('are made each time again after one success', () => {
    const attempts = new Attempts(63);
    for (let time = 0; time < 5; time++) attempts.failed();
    expect(skipped(attempts)).toBe(31);
    attempts.succeeded();
    expect(skipped(attempts)).toBe(0);
    attempts.failed();
    expect(skipped(attempts)).toBe(1);
  });
});
