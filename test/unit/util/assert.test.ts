import { expect, it } from 'vitest';
import { AssertionError, assert } from '../../../src/util/assert.ts';

it('assert passes what holds and throws what does not', () => {
  assert(true, 'one is one');
  expect(() => assert(false, 'one is two')).toThrow(new AssertionError('one is two'));
});
