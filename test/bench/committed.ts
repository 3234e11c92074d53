/** The table of docs/performance.md: what the short benchmark is held against. */
import type { Row } from './results.ts';

/** A ratio may fall to this part of the committed one before anybody is told. */
const KEPT = 0.7;

/** Ratios by workload and by program, without its version. */
export type Committed = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Reads the first table whose first column is `workload`. Throws when there is none. */
export function readTable(markdown: string): Committed {
  const lines = markdown.split('\n');
  const first = lines.findIndex((line) => line.startsWith('| workload |'));
  if (first === -1) throw new Error('no table that begins with "| workload |"');
  const [, ...peers] = cellsOf(lines[first]!);
  const table = new Map<string, Map<string, number>>();
  for (const line of lines.slice(first + 2)) {
    if (!line.startsWith('|')) break;
    const [workload = '', ...ratios] = cellsOf(line);
    const known = ratios.flatMap((text, column) =>
      text === '' ? [] : [[programOf(peers[column]!), Number(text)] as const],
    );
    table.set(workload, new Map(known));
  }
  return table;
}

/** What `--short` refuses: a ratio to a peer more than 30 % below the committed one. */
export function drops(rows: readonly Row[], committed: Committed): string[] {
  return rows.flatMap(({ workload, peer, ratio }) => {
    const before = committed.get(workload)?.get(programOf(peer));
    if (before === undefined || ratio >= before * KEPT) return [];
    return [`${workload}: ${ratio.toFixed(2)} of ${peer}, it was ${before.toFixed(2)}`];
  });
}

/** As `readTable` reads it: a column a peer, a line a workload. */
export function formatMarkdown(rows: readonly Row[]): string {
  const peers = [...new Set(rows.map(({ peer }) => peer))];
  const workloads = [...new Set(rows.map(({ workload }) => workload))];
  const ratioOf = (workload: string, peer: string) =>
    rows.find((row) => row.workload === workload && row.peer === peer)?.ratio.toFixed(2) ?? '';
  const lines = [
    ['workload', ...peers],
    ['---', ...peers.map(() => '---')],
    ...workloads.map((workload) => [workload, ...peers.map((peer) => ratioOf(workload, peer))]),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** `qemu-storage-daemon 10.0.2` is `qemu-storage-daemon`: ratios are kept across versions. */
function programOf(peer: string): string {
  return peer.replace(/ \d[\d.]*$/, '');
}
