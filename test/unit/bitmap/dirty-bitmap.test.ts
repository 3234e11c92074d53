import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { fastest } from '../../support/fastest.ts';

const MiB = 1 << 20;
const TiB = 2 ** 40;

describe('dirty bitmap', () => {
  it('counts a last granule that the disk only half fills in whole', () => {
    const bitmap = new DirtyBitmap({ size: 65_536 + 512, granularity: 65_536 });
    bitmap.set(0, bitmap.size);
    expect(bitmap.count).toBe(2 * 65_536);
    expect(bitmap.nextDirtyRun(0, 1 << 30)).toEqual({ offset: 0, length: 65_536 + 512 });
  });

  it('is always clean on an empty disk', () => {
    const bitmap = new DirtyBitmap({ size: 0, granularity: 512 });
    bitmap.set(0, bitmap.size);
    expect(bitmap.isClean).toBe(true);
    expect(bitmap.nextDirty(0)).toBeUndefined();
    expect([...bitmap.extents(0, 0)]).toEqual([]);
  });

  it('covers large disks in one run', () => {
    const size = 64 * 2 ** 40;
    const bitmap = new DirtyBitmap({ size, granularity: 2 ** 26 });
    bitmap.set(0, bitmap.size);
    expect(bitmap.count).toBe(size);
    expect(bitmap.nextDirtyRun(0, size)).toEqual({ offset: 0, length: size });
  });

  it('refuses to mark beyond the disk and to clean parts of a granule', () => {
    const bitmap = new DirtyBitmap({ size: 65_536, granularity: 4096 });
    expect(() => bitmap.set(65_535, 2)).toThrow('bitmap range');
    expect(() => bitmap.reset(512, 4096)).toThrow('starts at a granule');
    expect(() => bitmap.reset(0, 512)).toThrow('ends at a granule');
  });

  it('takes powers of two from 512 on as granularity', () => {
    for (const granularity of [0, 256, 513, 1000]) {
      expect(() => new DirtyBitmap({ size: 4096, granularity })).toThrow('granularity');
    }
  });

  it.each([
    ['a run', (bitmap: DirtyBitmap) => bitmap.nextDirtyRun(0, MiB)],
    ['extents', (bitmap: DirtyBitmap) => [...bitmap.extents(0, MiB)]],
  ])('does not look behind what is asked for: %s', (_, look) => {
    const [small, large] = [MiB, TiB].map((size) => {
      const bitmap = new DirtyBitmap({ size, granularity: 65_536 });
      bitmap.set(0, bitmap.size);
      return fastest(() => {
        for (let i = 0; i < 1000; i++) look(bitmap);
      });
    });
    // Looking at all of it takes more than a thousand times as long.
    expect(large! / small!).toBeLessThan(50);
  });

  it('merges many short runs as fast as one long one', () => {
    const ofSize = { size: TiB, granularity: 65_536 };
    const [inRuns, whole] = [new DirtyBitmap(ofSize), new DirtyBitmap(ofSize)];
    for (let at = 0; at < TiB; at += 8 * 65_536) inRuns.set(at, 65_536);
    whole.set(0, whole.size);
    const [manyRuns, oneRun] = [inRuns, whole].map((source) => {
      const into = new DirtyBitmap(ofSize);
      into.set(3 * 65_536, 65_536);
      const ms = fastest(() => into.merge(source));
      expect(into.count).toBe(source === whole ? TiB : source.count + 65_536);
      return ms;
    });
    // Run by run it takes more than twenty times as long.
    expect(manyRuns! / oneRun!).toBeLessThan(10);
  });
});
