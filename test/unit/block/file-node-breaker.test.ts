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

  it('leaves fast writes on the event loop', () => {
    for (let index = 0; index < 100; index++) expect(write(1)).toBe(true);
  });

  it('sends writes to the pool for a while after a slow one', () => {
    write(50);
    expect(write(0)).toBe(false);
    clock.advance(99);
    expect(write(0)).toBe(false);
    clock.advance(1);
    expect(write(0)).toBe(true);
  });

  it('rests longer each time the next try is slow too, up to a second', () => {
    const rests = [];
    for (let index = 0; index < 6; index++) {
      write(50);
      let rest = 0;
      while (!write(0)) {
        clock.advance(100);
        rest += 100;
        if (breaker.tryStart()) break;
      }
      rests.push(rest);
    }
    expect(rests).toEqual([100, 200, 400, 800, 1000, 1000]);
  });

  it('forgets after a fast write', () => {
    write(50);
    clock.advance(100);
    write(50);
    clock.advance(200);
    write(0);
    write(50);
    clock.advance(100);
    expect(write(0)).toBe(true);
  });
});
