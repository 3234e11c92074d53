import type { DiskRange, Extent } from './node.ts';

/** The smallest range of whole units around a range, cut at the end of the disk. */
export function wholeUnits(range: DiskRange, unitBytes: number, size: number): DiskRange {
  const { offset, length } = range;
  const start = Math.floor(offset / unitBytes) * unitBytes;
  const end = Math.min(size, Math.ceil((offset + length) / unitBytes) * unitBytes);
  return start === offset && end === offset + length
    ? range
    : { offset: start, length: end - start };
}

/**
 * The extents of a range with borders at whole units only: what is zero shrinks, what is data
 * grows. They cover at least one unit of the range, which begins at a unit, and end with a unit or
 * with the range.
 */
export function extentsInUnits(
  extents: readonly Extent[],
  unitBytes: number,
  range: DiskRange,
): readonly Extent[] {
  if (unitBytes === 1) return extents;
  const down = (at: number) => Math.floor(at / unitBytes) * unitBytes;
  const up = (at: number) => Math.min(end, Math.ceil(at / unitBytes) * unitBytes);
  const end = range.offset + range.length;
  const last = extents[extents.length - 1]!;
  const known = last.offset + last.length;
  const whole: Extent[] = [];
  let at = range.offset;
  const push = (to: number, zero: boolean) => {
    if (to > at) whole.push({ offset: at, length: to - at, zero, hole: zero });
    at = Math.max(at, to);
  };
  for (const run of zeroRunsOf(extents)) {
    const zeroEnd = run.end === end ? end : down(run.end);
    if (zeroEnd <= up(run.start)) continue;
    push(up(run.start), false);
    push(zeroEnd, true);
  }
  // An answer that ends inside a unit says nothing of the rest of it: the unit counts as data.
  push(up(known), false);
  return whole;
}

/** Neighbours that read as zeroes, holes or not, joined. */
function zeroRunsOf(extents: readonly Extent[]): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = [];
  for (const { offset, length, zero } of extents) {
    if (!zero) continue;
    const previous = runs[runs.length - 1];
    if (previous?.end === offset) previous.end += length;
    else runs.push({ start: offset, end: offset + length });
  }
  return runs;
}
