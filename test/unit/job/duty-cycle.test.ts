import { expect, it } from 'vitest';
import { DutyCycle } from '../../../src/job/duty-cycle.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Work of so many milliseconds. */
function burst(clock: FakeClock, cycle: DutyCycle, ms: number, clientsWrite: boolean): void {
  cycle.burst(clientsWrite, () => clock.advance(ms));
}

it('copies rest in proportion to their work while clients write', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 10, true);
  expect(cycle.restMs()).toBe(320);
  clock.advance(300);
  expect(cycle.restMs()).toBe(20);
  clock.advance(100);
  expect(cycle.restMs()).toBe(0);
});

it('copies rest for a moment after the shortest work', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 0, true);
  expect(cycle.restMs()).toBe(1);
});

it('copies do not rest while nobody writes', () => {
  const clock = new FakeClock();
  const cycle = new DutyCycle(clock);
  burst(clock, cycle, 10, false);
  expect(cycle.restMs()).toBe(0);
});
