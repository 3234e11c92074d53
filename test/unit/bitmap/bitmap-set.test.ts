import { describe, expect, it } from 'vitest';
import { BitmapSet } from '../../../src/bitmap/bitmap-set.ts';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';

const make = (name: string | undefined, enabled = true) =>
  new DirtyBitmap({ name, size: 65_536, granularity: 512, enabled });

/** Adds, finds, switches and removes `count` bitmaps; how often any of them was looked at. */
function looksOf(count: number): number {
  const set = new BitmapSet();
  let looks = 0;
  const bitmaps = Array.from({ length: count }, (_, index) => {
    const bitmap = make(`b${index}`);
    for (const member of ['name', 'enabled'] as const) {
      let value = bitmap[member];
      Object.defineProperty(bitmap, member, {
        get: () => {
          looks++;
          return value;
        },
        set: (changed: typeof value) => {
          value = changed;
        },
      });
    }
    return bitmap;
  });
  for (const bitmap of bitmaps) set.add(bitmap);
  for (let index = 0; index < count; index++) set.setRecording(set.find(`b${index}`)!, false);
  expect(set.recording).toEqual([]);
  for (const bitmap of bitmaps) set.remove(bitmap);
  return looks;
}

describe('the bitmaps of a disk', () => {
  it('cost the same each, however many there are', () => {
    expect(looksOf(10_000)).toBe(10 * looksOf(1_000));
  });

  it('are listed in the order in which they came', () => {
    const set = new BitmapSet();
    const [first, second, third] = [make('a'), make(undefined), make('c')] as const;
    for (const bitmap of [first, second, third]) set.add(bitmap);
    set.remove(second);
    expect(set.list()).toEqual([first, third]);
    expect([set.has(first), set.has(second)]).toEqual([true, false]);
  });

  it('give a request those that record when it asks, whatever changes later', () => {
    const set = new BitmapSet();
    const [on, off] = [make('on'), make('off', false)] as const;
    set.add(on);
    set.add(off);
    const atFirst = set.recording;
    set.setRecording(off, true);
    set.setRecording(on, false);
    expect([atFirst, set.recording]).toEqual([[on], [off]]);
    set.remove(off);
    expect(set.recording).toEqual([]);
  });

  it('have names of their own', () => {
    const set = new BitmapSet();
    set.add(make('a'));
    expect(() => set.add(make('a'))).toThrow('bitmap name a is free');
    expect(() => set.remove(make('a'))).toThrow('the bitmap is on this node');
  });
});
