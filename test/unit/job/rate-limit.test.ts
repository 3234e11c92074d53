import { describe, expect, it } from 'vitest';
import { RateLimit } from '../../../src/job/rate-limit.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('RateLimit', () => {
  it('is no limit at speed 0', () => {
    const limit = new RateLimit(new FakeClock());
    limit.charge(1e12);
    expect(limit.delayMs()).toBe(0);
    expect(limit.quotaBytes).toBe(Number.POSITIVE_INFINITY);
  });

  it('stretches the slice by what was overshot, so that the mean is the limit', () => {
    const clock = new FakeClock();
    const limit = new RateLimit(clock);
    limit.setSpeed(262_144);
    let bytes = 0;
    const start = clock.now();
    while (clock.now() - start < 10_000) {
      if (limit.delayMs() > 0) {
        clock.advance(limit.delayMs());
        continue;
      }
      limit.charge(65536);
      bytes += 65536;
    }
    expect(bytes / 10).toBeGreaterThan(262_144 * 0.95);
    expect(bytes / 10).toBeLessThan(262_144 * 1.05);
  });

  it('lets work go on inside the quota of a slice', () => {
    const limit = new RateLimit(new FakeClock());
    limit.setSpeed(1_000_000);
    limit.charge(99_999);
    expect(limit.delayMs()).toBe(0);
    limit.charge(1);
    expect(limit.delayMs()).toBe(100);
  });

  it('is given back what did not travel, and never more than was charged', () => {
    const limit = new RateLimit(new FakeClock());
    limit.setSpeed(1_000_000);
    limit.charge(300_000);
    limit.refund(250_000);
    expect(limit.delayMs()).toBe(0);
    limit.refund(1_000_000);
    limit.charge(100_000);
    expect(limit.delayMs()).toBe(100);
  });

  it('starts afresh when the speed changes', () => {
    const limit = new RateLimit(new FakeClock());
    limit.setSpeed(1);
    limit.charge(1_000_000);
    limit.setSpeed(1_000_000);
    expect(limit.delayMs()).toBe(0);
  });
});
