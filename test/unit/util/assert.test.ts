import { expect, it } from 'vitest';
import { AssertionError, assert, unreachable } from '../../../src/util/assert.ts';

it('assert passes what holds and throws what does not', () => {
  assert(true, 'one is one');
  expect(() => assert(false, 'one is two')).toThrow(new AssertionError('one is two'));
});

it('unreachable names the value that should not be there', () => {
  expect(() => unreachable('x' as never)).toThrow('unexpected value x');
});
