import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { DirtyMap } from '../../../src/bitmap/dirty-map.ts';
import { MiB } from '../../../src/util/limits.ts';
import { fastest } from '../../support/fastest.ts';

const PART = 4096;
const TiB = 2 ** 40;

function refinedMap(size: number, granularity: number): DirtyMap {
  const map = new DirtyMap(new DirtyBitmap({ size, granularity }));
  map.refine();
  return map;
}

/** All that is dirty, as [offset, length]. */
function runsOf(map: DirtyMap): [number, number][] {
  const runs: [number, number][] = [];
  for (let run = map.nextRun(0, TiB); run !== undefined; run = map.nextRun(run.offset, TiB)) {
    runs.push([run.offset, run.length]);
    run.offset += run.length;
  }
  return runs;
}

describe('parts of granules, kept in pages of 32 MiB of the disk', () => {
  /** Two in each of three pages. */
  function mapWithParts(): DirtyMap {
    const map = refinedMap(96 * MiB, 2 * PART);
    for (const at of [0, 31, 33, 63, 65, 95]) map.mark(at * MiB, PART);
    return map;
  }

  it('are one run when all around them is marked', () => {
    const map = mapWithParts();
    map.mark(16 * MiB, 64 * MiB);
    expect(runsOf(map)).toEqual([
      [0, PART],
      [16 * MiB, 64 * MiB],
      [95 * MiB, PART],
    ]);
  });

  it('outside what is cleaned stay, and what is marked again is told apart', () => {
    const map = mapWithParts();
    map.clear(16 * MiB, 64 * MiB);
    expect(runsOf(map)).toEqual([
      [0, PART],
      [95 * MiB, PART],
    ]);
    for (const at of [31, 33, 63, 65]) map.mark(at * MiB + PART, PART);
    expect(runsOf(map)).toEqual([
      [0, PART],
      ...[31, 33, 63, 65].map((at) => [at * MiB + PART, PART]),
      [95 * MiB, PART],
    ]);
  });
});

it('a granule that hangs over the end of the disk is clean when its parts on the disk are', () => {
  const bitmap = new DirtyBitmap({ size: 65_536 + 2 * PART, granularity: 65_536 });
  bitmap.set(65_536, 2 * PART);
  const map = new DirtyMap(bitmap);
  map.refine();
  map.clear(65_536, PART);
  expect(runsOf(map)).toEqual([[65_536 + PART, PART]]);
  map.clear(65_536 + PART, PART);
  expect(bitmap.isClean).toBe(true);
});

it('marks and cleans large disks without going through their granules', () => {
  const map = refinedMap(TiB, 65_536);
  const bitmap = new DirtyBitmap({ size: TiB, granularity: 65_536 });
  const ofMap = fastest(() => {
    map.mark(0, TiB);
    map.clear(0, TiB);
  });
  const ofBitmap = fastest(() => {
    bitmap.set(0, TiB);
    bitmap.reset(0, TiB);
  });
  // Granule by granule it is more than ten times as long.
  expect(ofMap / ofBitmap).toBeLessThan(4);
});
