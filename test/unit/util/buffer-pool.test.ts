import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../../src/util/buffer-pool.ts';

describe('buffer pool', () => {
  it('hands out at least what is asked for', () => {
    const pool = new BufferPool(1 << 20);
    for (const bytes of [1, 4096, 4097, 100_000]) {
      expect(pool.take(bytes).length).toBeGreaterThanOrEqual(bytes);
    }
  });

  it('hands out again what came back, the last first', () => {
    const pool = new BufferPool(1 << 20);
    const [first, second] = [pool.take(4096), pool.take(4096)];
    expect(first).not.toBe(second);
    pool.give(first);
    pool.give(second);
    expect(pool.take(4000)).toBe(second);
    expect(pool.take(4000)).toBe(first);
  });

  it('never hands out a buffer twice', () => {
    const pool = new BufferPool(1 << 20);
    const buffer = pool.take(4096);
    pool.give(buffer);
    expect(pool.take(4096)).toBe(buffer);
    expect(pool.take(4096)).not.toBe(buffer);
  });

  it('keeps no more than its bound', () => {
    const pool = new BufferPool(8192);
    const three = [pool.take(4096), pool.take(4096), pool.take(4096)];
    for (const buffer of three) pool.give(buffer);
    const again = [pool.take(4096), pool.take(4096), pool.take(4096)];
    expect(again.filter((buffer) => three.includes(buffer))).toHaveLength(2);
  });

  it('makes buffers in the way it is told', () => {
    const pool = new BufferPool(8192, (bytes) => Buffer.alloc(bytes, 7));
    expect(pool.take(4096)[4095]).toBe(7);
  });
});
