/** What a workload is, and what several of them need. */
import type { Scope } from '../support/process.ts';
import type { Network } from './address.ts';
import { type Load, runLoad } from './fio.ts';
import { GiB, type Images, MiB } from './images.ts';
import type { Contender, RunningContender } from './peers.ts';

/** Disks that load runs against. */
export const LOAD_DISK_BYTES = GiB;

/** Times, and bytes sent for each byte written: less is better. Requests a second: more is. */
export type Unit = 's' | 'ms' | 'B/B' | 'IOPS';

export interface Measurement {
  value: number;
  /** Bytes; absent for peers that have no say in it. */
  peakMemory?: number;
  /** Processor seconds for each GiB mirrored, or for a million requests. */
  cpu?: number;
}

export interface Side {
  name: string;
  measure(scope: Scope): Promise<Measurement>;
}

export interface Workload {
  name: string;
  unit: Unit;
  /** Ours. */
  ours: Side;
  peers: Side[];
}

export interface Setting {
  images: Images;
  ours: Contender;
  qsd: Contender;
  /** The same, with the kernel's io_uring instead of threads. */
  /** It, and it with other ways to wait for files. */
  qsds: readonly Contender[];
  /** How everything that is started is reached. */
  network: Network;
  /** Cold files, O_DIRECT and loop devices can be had. */
  isRoot: boolean;
  /** Versions of the others, by program; absent when the program is. */
  others: ReadonlyMap<string, string>;
  /** How long each load runs. */
  seconds: number;
}

/** Begins the names of peers that do less than the work: nobody can be much faster. */
export const LIMIT = 'limit: ';

/**
 * A server works for days: its first seconds, in which code is compiled and pages of the cache
 * become dirty, are a workload of their own.
 */
const WARM_UP_SECONDS = 2;

/** The same load as will be measured, for everybody. */
export async function warmUp(uri: string, load: Load): Promise<void> {
  await runLoad(uri, load, LOAD_DISK_BYTES, WARM_UP_SECONDS);
}

/** Requests a second, and processor seconds for a million of them. */
export async function underLoad(server: RunningContender, load: Load, seconds: number) {
  const before = server.cpuSeconds();
  const { iops, requests } = await runLoad(server.uri, load, LOAD_DISK_BYTES, seconds);
  const cpu = (server.cpuSeconds() - before) / (requests / 1e6);
  return { value: iops, cpu, writtenBytes: requests * load.blockSize };
}

const PATTERNS = {
  randread: 'random reads',
  randrw: 'random reads and writes',
  randwrite: 'random writes',
  read: 'reads',
  write: 'writes',
} as const;

export function describeLoad({ pattern, blockSize, depth }: Load): string {
  const size = blockSize >= MiB ? `${blockSize / MiB} MiB` : `${blockSize / 1024} KiB`;
  return `${size} ${PATTERNS[pattern]}, depth ${depth}`;
}
