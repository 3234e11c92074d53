import { expect, it } from 'vitest';
import { JobTimes } from '../../../src/cli/job-times.ts';

/** "transferred … in 5s": of this mirror, not of the daemon. */
function timesAt() {
  let now = 1000;
  const times = new JobTimes(() => now);
  const pass = (seconds: number) => {
    now += 1000 * seconds;
  };
  return { times, pass };
}

it('counts from the beginning of the job, not of the watch', () => {
  const { times, pass } = timesAt();
  pass(3600);
  times.note('m', 'created');
  times.note('m', 'running');
  pass(5);
  expect(times.seconds('m')).toBe(5);
});

it('counts no further when the job has ended and stays', () => {
  const { times, pass } = timesAt();
  times.note('m', 'created');
  pass(5);
  times.note('m', 'concluded');
  pass(3600);
  expect(times.seconds('m')).toBe(5);
});

it('begins anew with another job of the same name', () => {
  const { times, pass } = timesAt();
  times.note('m', 'created');
  times.note('m', 'concluded');
  pass(3600);
  times.note('m', 'null');
  times.note('m', 'created');
  pass(5);
  expect(times.seconds('m')).toBe(5);
});

it('counts from its own beginning for what was there before', () => {
  const { times, pass } = timesAt();
  pass(5);
  expect(times.seconds('m')).toBe(5);
});
