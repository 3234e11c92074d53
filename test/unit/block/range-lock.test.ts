import { describe, expect, it } from 'vitest';
import { type RangeHold, RangeLock } from '../../../src/block/range-lock.ts';

/** Locks and notes in `log` when the range was granted. */
function lockAndLog(lock: RangeLock, log: string[], name: string, range: [number, number]) {
  const hold = lock.lock(...range);
  if (hold instanceof Promise) return hold.then((granted) => note(granted));
  return note(hold);

  function note(granted: RangeHold): RangeHold {
    log.push(name);
    return granted;
  }
}

describe('a range lock', () => {
  it('grants a free range at once', () => {
    const lock = new RangeLock();
    expect(lock.lock(0, 4096)).not.toBeInstanceOf(Promise);
    expect(lock.held).toBe(1);
  });

  it('does not make neighbours wait', () => {
    const lock = new RangeLock();
    void lock.lock(4096, 4096);
    expect(lock.lock(0, 4096)).not.toBeInstanceOf(Promise);
    expect(lock.lock(8192, 1)).not.toBeInstanceOf(Promise);
  });

  it('makes one byte of overlap wait until the range is released', async () => {
    const lock = new RangeLock();
    const first = lock.lock(0, 4096) as RangeHold;
    const second = lock.lock(4095, 1);
    expect(second).toBeInstanceOf(Promise);
    expect(lock.waiting).toBe(1);
    first.release();
    (await second).release();
    expect(lock.held).toBe(0);
  });

  it('grants overlapping ranges in the order in which they were asked for', async () => {
    const lock = new RangeLock();
    const log: string[] = [];
    const holder = lock.lock(0, 100) as RangeHold;
    const left = lockAndLog(lock, log, 'left', [0, 50]);
    const whole = lockAndLog(lock, log, 'whole', [0, 100]);
    const right = lockAndLog(lock, log, 'right', [50, 50]);
    holder.release();
    (await left).release();
    (await whole).release();
    await right;
    // `right` was free when `left` was granted, but `whole` had asked for it before.
    expect(log).toEqual(['left', 'whole', 'right']);
  });

  it('lets a range wait for all who hold parts of it', async () => {
    const lock = new RangeLock();
    const log: string[] = [];
    const holds = [lock.lock(0, 10), lock.lock(10, 10), lock.lock(20, 10)] as RangeHold[];
    const whole = lockAndLog(lock, log, 'whole', [5, 20]);
    holds[1]!.release();
    holds[0]!.release();
    await Promise.resolve();
    expect(log).toEqual([]);
    holds[2]!.release();
    await whole;
    expect(log).toEqual(['whole']);
  });

  it('grants several ranges when one that covered them goes', async () => {
    const lock = new RangeLock();
    const holder = lock.lock(0, 100) as RangeHold;
    const parts = [lock.lock(0, 10), lock.lock(10, 10), lock.lock(90, 10)];
    holder.release();
    expect(lock.held).toBe(3);
    await Promise.all(parts);
  });

  it('tries without waiting, and overtakes nobody', async () => {
    const lock = new RangeLock();
    const holder = lock.tryLock(0, 10)!;
    expect(lock.tryLock(5, 10)).toBeUndefined();
    const waiter = lock.lock(5, 10);
    expect(lock.tryLock(12, 1)).toBeUndefined();
    expect(lock.tryLock(15, 1)).toBeDefined();
    holder.release();
    await waiter;
  });

  it('refuses a second release', () => {
    const lock = new RangeLock();
    const hold = lock.lock(0, 10) as RangeHold;
    hold.release();
    expect(() => hold.release()).toThrow('released once');
  });
});

describe('a hold that is shortened', () => {
  it('lets go what is behind its new end, to those who wait for nothing else', async () => {
    const lock = new RangeLock();
    const hold = lock.tryLock(0, 100)!;
    const granted: string[] = [];
    const wait = (name: string, offset: number, length: number) =>
      Promise.resolve(lock.lock(offset, length)).then((got) => {
        granted.push(name);
        return got;
      });
    const behind = wait('behind', 50, 10);
    void wait('across', 40, 10);
    void wait('before', 0, 10);
    void wait('behind the one behind', 55, 10);
    hold.shorten(45);
    await behind;
    await new Promise((resolve) => setImmediate(resolve));
    expect(granted).toEqual(['behind']);
    expect(lock.tryLock(45, 5)).toBeUndefined();
    expect(lock.tryLock(70, 30)).toBeDefined();
    (await behind).release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(granted).toEqual(['behind', 'behind the one behind']);
    hold.release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(granted.slice(2).sort()).toEqual(['across', 'before']);
    expect(lock.waiting).toBe(0);
  });
});
