/** From single figures to rows: medians, and the ratio in which above 1 is better for us. */
import type { Measurement, Unit, Workload } from './workload.ts';

export interface Pair {
  ours: Measurement;
  theirs: Measurement;
}

export interface Row {
  workload: string;
  unit: Unit;
  peer: string;
  ours: number;
  theirs: number;
  /** Median of the pairs' ratios; above 1 we are faster. */
  ratio: number;
  /** Largest over the pairs, in MiB. */
  ourPeakMiB: number;
  theirPeakMiB: number | undefined;
  /** Processor seconds for each GiB mirrored, or for a million requests: medians. */
  ourCpu: number | undefined;
  theirCpu: number | undefined;
}

export const MEMORY_MIB_MAX = 160;

export function makeRow(workload: Workload, peer: string, pairs: readonly Pair[]): Row {
  const ratios = pairs.map(({ ours, theirs }) =>
    workload.unit === 'IOPS' ? ours.value / theirs.value : theirs.value / ours.value,
  );
  const theirPeaks = pairs.flatMap(({ theirs }) => theirs.peakMemory ?? []);
  return {
    workload: workload.name,
    unit: workload.unit,
    peer,
    ours: median(pairs.map(({ ours }) => ours.value)),
    theirs: median(pairs.map(({ theirs }) => theirs.value)),
    ratio: median(ratios),
    ourPeakMiB: mebibytes(pairs.flatMap(({ ours }) => ours.peakMemory ?? [])),
    theirPeakMiB: theirPeaks.length > 0 ? mebibytes(theirPeaks) : undefined,
    ourCpu: medianOf(pairs, ({ ours }) => ours.cpu),
    theirCpu: medianOf(pairs, ({ theirs }) => theirs.cpu),
  };
}

export function formatTable(rows: readonly Row[]): string {
  const head = ['workload', 'ours', 'theirs', 'ratio', 'CPU', 'peak', 'peer'];
  const body = rows.map((row) => [
    row.workload,
    formatFigure(row.ours, row.unit),
    formatFigure(row.theirs, row.unit),
    row.ratio.toFixed(2),
    both(row.ourCpu, row.theirCpu, 2),
    both(row.ourPeakMiB, row.theirPeakMiB, 0),
    row.peer,
  ]);
  const widths = head.map((_, column) =>
    Math.max(...[head, ...body].map((cells) => cells[column]!.length)),
  );
  const lines = [head, ...body].map((cells) =>
    cells
      .map((cell, column) => {
        const isText = column === 0 || column === head.length - 1;
        return isText ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!);
      })
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** What `--check` refuses: slower than qemu-storage-daemon, or more memory than we promise. */
export function shortcomings(rows: readonly Row[]): string[] {
  const found = rows.flatMap((row) => [
    ...(row.peer.startsWith('qemu-storage-daemon') && row.ratio < 1
      ? [`${row.workload}: ${row.ratio.toFixed(2)} of ${row.peer}`]
      : []),
    ...(row.ourPeakMiB > MEMORY_MIB_MAX
      ? [`${row.workload}: ${row.ourPeakMiB} MiB of memory`]
      : []),
  ]);
  // There is a row for each peer.
  return [...new Set(found)];
}

/** `ours/theirs`. */
function both(ours: number | undefined, theirs: number | undefined, digits: number): string {
  if (ours === undefined) return '-';
  return `${ours.toFixed(digits)}/${theirs?.toFixed(digits) ?? '-'}`;
}

function medianOf(
  pairs: readonly Pair[],
  figure: (pair: Pair) => number | undefined,
): number | undefined {
  const values = pairs.flatMap((pair) => figure(pair) ?? []);
  return values.length === pairs.length ? median(values) : undefined;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function formatFigure(value: number, unit: Unit): string {
  return unit === 'IOPS' ? `${Math.round(value)} IOPS` : `${value.toFixed(2)} ${unit}`;
}

function mebibytes(bytes: readonly number[]): number {
  return Math.round(Math.max(0, ...bytes) / 1024 / 1024);
}
