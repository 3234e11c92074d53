import { expect, it } from 'vitest';
import { Throughput } from '../../../src/job/throughput.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** What `x-copy-rate` tells. */
it('is what was copied in about the last second, and nothing when nothing was', () => {
  const clock = new FakeClock();
  const throughput = new Throughput(clock);
  expect(throughput.bytesPerSecond()).toBe(0);
  clock.advance(250);
  throughput.note(1000);
  expect(throughput.bytesPerSecond()).toBe(4000);
  clock.advance(750);
  throughput.note(2000);
  expect(throughput.bytesPerSecond()).toBe(2000);
  clock.advance(1000);
  throughput.note(7000);
  expect(throughput.bytesPerSecond()).toBe(5000);
  clock.advance(1000);
  expect(throughput.bytesPerSecond()).toBe(0);
});
