import { expect, it } from 'vitest';
import { BackOff } from '../../../src/job/error-policy.ts';

it('errors that come together are one, and the pause doubles from one to the next', () => {
  const backOff = new BackOff();
  expect([backOff.failed(0), backOff.remainingMs(0)]).toEqual([true, 10]);
  expect([backOff.failed(4), backOff.remainingMs(4)]).toEqual([false, 6]);
  expect([backOff.failed(10), backOff.remainingMs(10)]).toEqual([true, 20]);
  backOff.succeeded();
  expect([backOff.failed(30), backOff.remainingMs(30)]).toEqual([true, 10]);
});
