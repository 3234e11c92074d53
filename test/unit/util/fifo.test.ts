import { expect, it } from 'vitest';
import { Fifo } from '../../../src/util/fifo.ts';
import { fastest } from '../../support/fastest.ts';

it('gives back what it was given, in order, also after it was empty', () => {
  const fifo = new Fifo<number | undefined>();
  expect(fifo.shift()).toBeUndefined();
  for (const item of [1, undefined, 3]) fifo.push(item);
  expect([fifo.length, fifo.shift(), fifo.shift(), fifo.length]).toEqual([3, 1, undefined, 1]);
  fifo.push(4);
  expect([fifo.shift(), fifo.shift(), fifo.shift(), fifo.length]).toEqual([3, 4, undefined, 0]);
  fifo.push(5);
  expect(fifo.shift()).toBe(5);
});

it('costs as much for each item when there are many', () => {
  const [few, many] = [1000, 64_000].map((items) =>
    fastest(() => {
      for (let round = 0; round < 64_000 / items; round++) {
        const fifo = new Fifo<number>();
        for (let i = 0; i < items; i++) fifo.push(i);
        while (fifo.length > 0) fifo.shift();
      }
    }),
  );
  // With Array.prototype.shift it is a hundred times as much.
  expect(many! / few!).toBeLessThan(10);
});
