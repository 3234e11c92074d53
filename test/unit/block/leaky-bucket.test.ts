import { describe, expect, it } from 'vitest';
import { LeakyBucket } from '../../../src/block/leaky-bucket.ts';

describe('a leaky bucket', () => {
  it('without a rate never fills', () => {
    const bucket = new LeakyBucket({ average: 0, burst: 0, burstSeconds: 1 });
    bucket.pour(1e12);
    expect(bucket.waitSeconds).toBe(0);
  });

  it('holds a tenth of a second, and then waits for what is too much', () => {
    const bucket = new LeakyBucket({ average: 100, burst: 0, burstSeconds: 1 });
    bucket.pour(10);
    expect(bucket.waitSeconds).toBe(0);
    bucket.pour(25);
    expect(bucket.waitSeconds).toBe(0.25);
    bucket.leak(0.1);
    expect(bucket.waitSeconds).toBe(0.15);
  });

  it('holds a burst of one second in one go', () => {
    const bucket = new LeakyBucket({ average: 100, burst: 500, burstSeconds: 1 });
    bucket.pour(500);
    expect(bucket.waitSeconds).toBe(0);
    bucket.pour(100);
    expect(bucket.waitSeconds).toBe(1);
  });

  it('keeps a longer burst to its rate, and then to the average', () => {
    const bucket = new LeakyBucket({ average: 100, burst: 500, burstSeconds: 2 });
    bucket.pour(100);
    expect(bucket.waitSeconds).toBe(0.1);
    bucket.leak(0.1);
    expect(bucket.waitSeconds).toBe(0);
    bucket.pour(960);
    expect(bucket.waitSeconds).toBeCloseTo(0.5);
  });
});
