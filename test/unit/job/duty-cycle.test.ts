import { expect, it } from 'vitest';
import { DutyCycle, type RestsFor } from '../../../src/job/duty-cycle.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Work of so many milliseconds. */
function burst(clock: FakeClock, cycle: DutyCycle, ms: number, restsFor: RestsFor): void {
  cycle.burst(restsFor, () => clock.advance(ms));
}

function copy(clock: FakeClock, cycle: DutyCycle, ms: number): void {
  cycle.copy(() => clock.advance(ms));
}

it('copies rest in proportion to their work while clients write', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 10, 'bursts');
  expect(cycle.restMs()).toBe(320);
  clock.advance(300);
  expect(cycle.restMs()).toBe(20);
  clock.advance(100);
  expect(cycle.restMs()).toBe(0);
});

it('copies rest for a moment after the shortest work', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 0, 'bursts');
  expect(cycle.restMs()).toBe(1);
});

it('copies do not rest while nobody writes', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 10, 'nothing');
  copy(clock, cycle, 10);
  expect(cycle.restMs()).toBe(0);
});

it('where somebody waits for the mirror, what copies do themselves is not rested for', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 2, 'bursts');
  copy(clock, cycle, 5);
  expect(cycle.restMs()).toBe(64 - 5);
});

it('where nobody waits, copies are rested for as their bursts are, one after the other', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 2, 'everything');
  expect(cycle.copy(() => 'what it gives')).toBe('what it gives');
  copy(clock, cycle, 1);
  copy(clock, cycle, 1);
  expect(cycle.restMs()).toBe(64 + (32 - 1) + (32 - 1));
  // A burst that comes early does not shorten it.
  burst(clock, cycle, 0, 'everything');
  expect(cycle.restMs()).toBe(126);
});

it('work that stood still with the whole process is not rested for in full', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 60_000, 'bursts');
  expect(cycle.restMs()).toBe(1000);
});
