import { describe, expect, it } from 'vitest';
import { sleep, systemClock } from '../../../src/util/clock.ts';

describe('system clock', () => {
  it('never goes back', () => {
    const times = Array.from({ length: 1000 }, () => systemClock.now());
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('says the time of day in microseconds', () => {
    const now = systemClock.wallMicroseconds();
    expect(Number.isInteger(now)).toBe(true);
    const year = new Date(now / 1000).getUTCFullYear();
    expect(year).toBe(new Date().getUTCFullYear());
  });

  it('sleeps for no less than it is told', async () => {
    const start = systemClock.now();
    await sleep(systemClock, 20);
    // Timers count whole milliseconds.
    expect(systemClock.now() - start).toBeGreaterThanOrEqual(19);
  });

  it('waits longer than a timer of the process can count', async () => {
    let called = false;
    const timer = systemClock.after(2 ** 40, () => {
      called = true;
    });
    await sleep(systemClock, 10);
    timer.cancel();
    expect(called).toBe(false);
  });

  it('does not call what was cancelled', async () => {
    let called = false;
    const call = () => {
      called = true;
    };
    systemClock.after(1, call).cancel();
    systemClock.defer(call).cancel();
    await sleep(systemClock, 10);
    expect(called).toBe(false);
  });
});
