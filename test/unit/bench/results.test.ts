import { describe, expect, it } from 'vitest';
import { formatTable, makeRow, median, shortcomings } from '../../bench/results.ts';
import type { Workload } from '../../bench/workload.ts';

const MiB = 1024 * 1024;

function row(unit: Workload['unit'], ours: number[], theirs: number[], peak = 50 * MiB) {
  const workload = { name: 'w', unit, ours: { name: 'us', measure: never }, peers: [] };
  const pairs = ours.map((value, index) => ({
    ours: { value, cpu: 1.5, peakMemory: peak },
    theirs: { value: theirs[index]!, cpu: 3 },
  }));
  return makeRow(workload, 'qemu-storage-daemon 10', pairs);
}

const never = () => Promise.reject(new Error('not measured here'));

describe('a row of the benchmark', () => {
  it('has a ratio above 1 when we are better, whichever way the unit goes', () => {
    expect(row('s', [1], [2]).ratio).toBe(2);
    expect(row('IOPS', [200], [100]).ratio).toBe(2);
    expect(row('B/B', [1], [10]).ratio).toBe(10);
  });

  it('compares figures of one round, and takes the middle round', () => {
    expect(row('IOPS', [10, 100, 30], [10, 50, 10]).ratio).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it('falls short when a ratio is below 1 or memory above 160 MiB', () => {
    expect(shortcomings([row('s', [1], [1])])).toEqual([]);
    expect(shortcomings([row('s', [2], [1])])).toHaveLength(1);
    expect(shortcomings([row('s', [1], [2], 161 * MiB)])).toHaveLength(1);
  });

  it('is a line of the table', () => {
    const [head, line] = formatTable([row('IOPS', [200], [100])]).split('\n');
    expect(head).toMatch(/^workload +ours +theirs +ratio/);
    expect(line).toMatch(
      /^w +200 IOPS +100 IOPS +2\.00 +1\.50\/3\.00 +50\/- +qemu-storage-daemon 10$/,
    );
  });
});
