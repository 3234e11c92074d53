import { expect, it } from 'vitest';
import { DirtyPages } from '../../../src/sys/dirty-pages.ts';
import { ifPossible } from '../../../src/sys/if-possible.ts';

it('is done without while it cannot be had, and made once', () => {
  let isThere = false;
  let made = 0;
  const get = ifPossible(() => {
    if (!isThere) throw new Error('EMFILE');
    return ++made;
  });
  expect([get(), get()]).toEqual([undefined, undefined]);
  isThere = true;
  expect([get(), get()]).toEqual([1, 1]);
});

it('has no dirty pages where /proc is bare', () => {
  expect(ifPossible(() => new DirtyPages('/proc/none'))()).toBeUndefined();
});
