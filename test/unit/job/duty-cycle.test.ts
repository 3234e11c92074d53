import { describe, expect, it } from 'vitest';
import { DutyCycle, type RestsFor } from '../../../src/job/duty-cycle.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Work of so many milliseconds, after a client has written. */
function burst(clock: FakeClock, cycle: DutyCycle, ms: number, restsFor: RestsFor): void {
  cycle.clientWrote();
  cycle.burst(restsFor, false, () => clock.advance(ms));
}

function copy(clock: FakeClock, cycle: DutyCycle, ms: number): void {
  cycle.copy(() => clock.advance(ms));
}

/** Waits until the rest is over, where the thread is idle for that share of the time; how long. */
function restOf(clock: FakeClock, cycle: DutyCycle, idleShare = 0): number {
  const start = clock.now();
  for (let ms = cycle.restMs(); ms > 0; ms = cycle.restMs()) {
    clock.advance(ms);
    clock.idle += ms * idleShare;
  }
  return clock.now() - start;
}

describe('while clients write', () => {
  it('copies rest in proportion to their work', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 10, 'bursts');
    expect(restOf(clock, cycle)).toBe(320);
    expect(cycle.restMs()).toBe(0);
  });

  it('copies rest for a moment after the shortest work', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 0, 'bursts');
    expect(restOf(clock, cycle, 1)).toBe(1);
  });

  it('copies rest for less where clients leave the thread idle', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 10, 'bursts');
    expect(restOf(clock, cycle, 1)).toBe(80);
    burst(clock, cycle, 10, 'bursts');
    expect(restOf(clock, cycle, 0.5)).toBeCloseTo(160, -1);
    burst(clock, cycle, 10, 'bursts');
    expect(restOf(clock, cycle, 0.1)).toBe(320);
  });

  it('that the thread was idle before does not count', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 10, 'bursts');
    restOf(clock, cycle, 1);
    clock.advance(100_000);
    clock.idle += 100_000;
    burst(clock, cycle, 10, 'bursts');
    expect(restOf(clock, cycle)).toBe(320);
  });

  it('the rest is looked at again soon, but not all the time', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 10, 'bursts');
    expect(cycle.restMs()).toBe(80);
    clock.advance(80);
    clock.idle += 79.9;
    expect(cycle.restMs()).toBe(1);
  });

  it('where somebody waits for the mirror, what copies do themselves is not rested for', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 2, 'bursts');
    copy(clock, cycle, 5);
    expect(restOf(clock, cycle)).toBe(64 - 5);
  });

  it('where nobody waits, copies are rested for as their bursts are, one after the other', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 2, 'everything');
    expect(cycle.copy(() => 'what it gives')).toBe('what it gives');
    copy(clock, cycle, 1);
    copy(clock, cycle, 1);
    // A burst that comes early does not shorten it.
    burst(clock, cycle, 0, 'everything');
    expect(restOf(clock, cycle)).toBe(64 + (32 - 1) + (32 - 1));
    burst(clock, cycle, 2, 'everything');
    copy(clock, cycle, 1);
    copy(clock, cycle, 1);
    burst(clock, cycle, 0, 'everything');
    expect(restOf(clock, cycle, 1)).toBe((2 + 1 + 1) * 8);
  });

  it('work that stood still with the whole process is not rested for in full', () => {
    const clock = new FakeClock();
    const cycle = new DutyCycle(clock);
    burst(clock, cycle, 60_000, 'bursts');
    expect(restOf(clock, cycle)).toBe(1000);
  });
});

it('copies do not rest at the end of a mirror', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 10, 'nothing');
  copy(clock, cycle, 10);
  expect(cycle.restMs()).toBe(0);
});

it('copies do not rest where no client has written since the last burst', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 10, 'everything');
  restOf(clock, cycle);
  cycle.burst('everything', false, () => clock.advance(10));
  copy(clock, cycle, 10);
  expect(cycle.restMs()).toBe(0);
});

it('copies are alone until a client writes, and again when none has for 100 ms', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  const isAlone = (clientWaits = false) =>
    cycle.burst('nothing', clientWaits, (isAlone) => isAlone);
  expect(isAlone()).toBe(true);
  cycle.clientWrote();
  expect(isAlone()).toBe(false);
  clock.advance(99);
  expect(isAlone()).toBe(false);
  cycle.clientWrote();
  clock.advance(99);
  expect(isAlone()).toBe(false);
  clock.advance(100);
  expect(isAlone()).toBe(true);
  // One whose write takes long has not gone.
  expect(isAlone(true)).toBe(false);
  clock.advance(500);
  expect(isAlone(true)).toBe(false);
  clock.advance(99);
  expect(isAlone()).toBe(false);
});
