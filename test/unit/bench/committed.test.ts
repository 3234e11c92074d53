import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { drops, formatMarkdown, readTable } from '../../bench/committed.ts';
import type { Row } from '../../bench/results.ts';
import { SHORT_WORKLOADS } from '../../bench/workloads.ts';

const TABLE = `# Performance

| other | table |
| --- | --- |

| workload | qemu-storage-daemon 10.0.2 | nbdkit file 1.32.5 |
| --- | --- | --- |
| reads, depth 1 | 2.00 | 1.00 |
| full mirror | 1.50 | |

| workload | another |
`;

function row(workload: string, peer: string, ratio: number): Row {
  const figures = { ours: 1, theirs: 1, ourPeakMiB: 0, theirPeakMiB: 0 };
  return { workload, unit: 'IOPS', peer, ratio, ...figures, ourCpu: 1, theirCpu: 1 };
}

describe('the committed table', () => {
  it('is read, whatever the versions', () => {
    const table = readTable(TABLE);
    expect([...table.keys()]).toEqual(['reads, depth 1', 'full mirror']);
    expect([...table.get('reads, depth 1')!]).toEqual([
      ['qemu-storage-daemon', 2],
      ['nbdkit file', 1],
    ]);
    expect([...table.get('full mirror')!]).toEqual([['qemu-storage-daemon', 1.5]]);
  });

  it('must be there', () => {
    expect(() => readTable('nothing')).toThrow('no table');
  });

  it('is what the benchmark prints', () => {
    const rows = [row('a', 'x 1.0', 1.234), row('a', 'y', 2), row('b', 'y', 0.5)];
    expect(
      [...readTable(formatMarkdown(rows)).entries()].map(([key, map]) => [key, [...map]]),
    ).toEqual([
      [
        'a',
        [
          ['x', 1.23],
          ['y', 2],
        ],
      ],
      ['b', [['y', 0.5]]],
    ]);
  });

  it('is held against rows: a third less is told, a quarter is not, nor what is new', () => {
    const committed = readTable(TABLE);
    const told = (...rows: Row[]) => drops(rows, committed);
    expect(told(row('reads, depth 1', 'qemu-storage-daemon 11.1', 1.41))).toEqual([]);
    expect(told(row('reads, depth 1', 'qemu-storage-daemon 11.1', 1.39))).toEqual([
      'reads, depth 1: 1.39 of qemu-storage-daemon 11.1, it was 2.00',
    ]);
    expect(told(row('full mirror', 'nbdcopy 1', 0.1), row('new', 'x', 0.1))).toEqual([]);
  });

  it('of the documentation has what the short benchmark measures', () => {
    const table = readTable(readFileSync('docs/performance.md', 'utf8'));
    expect([...table.keys()]).toEqual(SHORT_WORKLOADS);
    for (const ratios of table.values()) {
      expect([...ratios.keys()]).toEqual(['qemu-storage-daemon']);
      expect(ratios.get('qemu-storage-daemon')).toBeGreaterThan(1);
    }
  });
});
