import { beforeEach, describe, expect, it } from 'vitest';
import { WriteBreaker } from '../../../src/block/file-node-breaker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('write breaker', () => {
  let clock: FakeClock;
  let breaker: WriteBreaker;

  beforeEach(() => {
    clock = new FakeClock();
    breaker = new WriteBreaker(clock);
  });

  /** A write on the event loop that takes `ms`; false when it had to go to the pool. */
  const write = (ms: number): boolean => {
    if (!breaker.tryStart()) return false;
    clock.advance(ms);
    breaker.end();
    return true;
  };

  /** Milliseconds until a write may run on the event loop again. */
  const rest = (): number => {
    const start = clock.now();
    while (!breaker.tryStart()) clock.advance(1);
    return clock.now() - start;
  };

  it('leaves fast writes on the event loop', () => {
    for (let index = 0; index < 100; index++) expect(write(1)).toBe(true);
  });

  it('sends writes to the pool after a slow one, for a time in proportion', () => {
    write(10);
    expect(write(0)).toBe(false);
    expect(rest()).toBe(80);
    write(0);
    write(100);
    expect(rest()).toBe(800);
  });

  it('rests longer each time the next try is slow too, up to ten seconds', () => {
    const rests = Array.from({ length: 6 }, () => {
      write(50);
      return rest();
    });
    expect(rests).toEqual([400, 800, 1600, 3200, 6400, 10_000]);
  });

  it('forgets after a fast write', () => {
    for (let index = 0; index < 3; index++) {
      write(50);
      rest();
    }
    write(0);
    write(50);
    expect(rest()).toBe(400);
  });
});
