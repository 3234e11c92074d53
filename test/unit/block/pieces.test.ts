import { expect, it } from 'vitest';
import { pieces } from '../../../src/block/node.ts';

it('pieces are in order, whole, and end with the rest', () => {
  expect([...pieces(10, 25, 10)]).toEqual([
    { offset: 10, length: 10 },
    { offset: 20, length: 10 },
    { offset: 30, length: 5 },
  ]);
});

it('pieces of no length are a mistake, not an endless row', () => {
  expect(() => pieces(0, 10, 0).next()).toThrow('pieces have a length');
});
