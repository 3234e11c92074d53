/**
 * What is measured. A workload knows how each of its sides is run; `measure` starts everything
 * anew, so that peak memory is that of one workload, and nothing is left over from the run before.
 */
import { mustRun, type Scope } from '../support/process.ts';
import { type Load, runLoad } from './fio.ts';
import { GiB, type Images, MiB } from './images.ts';
import { type CopyMode, compare, Mirror } from './mirror.ts';
import { type Contender, startContender, startNbdkit } from './peers.ts';

const LOAD_DISK_BYTES = GiB;

/** One figure: seconds (less is better) or requests a second (more is better). */
export interface Measurement {
  value: number;
  /** Bytes; absent for peers that have no say in it. */
  peakMemory?: number;
}

export interface Side {
  name: string;
  measure(scope: Scope): Promise<Measurement>;
}

export interface Workload {
  name: string;
  unit: 's' | 'IOPS';
  /** Ours. */
  ours: Side;
  /** The first is qemu-storage-daemon, when there is one. */
  peers: Side[];
}

export interface Setting {
  images: Images;
  ours: Contender;
  qsd: Contender | undefined;
  /** Versions of the others, by program; absent when the program is. */
  others: ReadonlyMap<string, string>;
  /** How long each load runs. */
  seconds: number;
}

export function allWorkloads(setting: Setting): Workload[] {
  const { images } = setting;
  return [
    fullMirror(setting, 'full mirror, 2 GiB of data', 2 * GiB, (size) => images.random(size)),
    fullMirror(setting, 'full mirror, sparse 64 GiB', 64 * GiB, (size) => images.sparse(size)),
    fullMirror(setting, 'full mirror, sparse 1 TiB', 1024 * GiB, (size) => images.sparse(size)),
    ...LOADS.map((load) => plainExport(setting, load)),
    ...(['background', 'write-blocking'] as const).flatMap((mode) =>
      LOADS.filter(({ pattern }) => pattern.endsWith('write')).map((load) =>
        exportWithMirror(setting, load, mode),
      ),
    ),
  ];
}

const LOADS: readonly Load[] = [
  { pattern: 'randread', blockSize: 4096, depth: 1 },
  { pattern: 'randread', blockSize: 4096, depth: 16 },
  { pattern: 'read', blockSize: MiB, depth: 8 },
  { pattern: 'randwrite', blockSize: 4096, depth: 1 },
  { pattern: 'randwrite', blockSize: 4096, depth: 16 },
  { pattern: 'write', blockSize: MiB, depth: 8 },
];

function fullMirror(
  setting: Setting,
  name: string,
  size: number,
  image: (size: number) => Promise<string>,
): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await image(size);
      const server = await startContender(scope, contender, file);
      const mirror = await Mirror.prepare(scope, server, file, size);
      const value = await mirror.untilReady('background');
      await mirror.finish();
      return { value, peakMemory: server.peakMemory() };
    },
  });
  const copier: Side = {
    name: `nbdcopy ${setting.others.get('nbdcopy')}`,
    async measure(scope) {
      const file = await image(size);
      const target = await startNbdkit(scope, ['memory', String(size)]);
      const start = performance.now();
      await mustRun('nbdcopy', [file, target]);
      const value = (performance.now() - start) / 1000;
      await compare(file, target);
      return { value };
    },
  };
  return {
    name,
    unit: 's',
    ours: side(setting.ours),
    peers: [
      ...(setting.qsd ? [side(setting.qsd)] : []),
      ...(setting.others.has('nbdcopy') ? [copier] : []),
    ],
  };
}

function plainExport(setting: Setting, load: Load): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const server = await startContender(scope, contender, file);
      const value = await runLoad(server.uri, load, LOAD_DISK_BYTES, setting.seconds);
      return { value, peakMemory: server.peakMemory() };
    },
  });
  const nbdkit: Side = {
    name: `nbdkit file ${setting.others.get('nbdkit')}`,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const uri = await startNbdkit(scope, ['file', file]);
      return { value: await runLoad(uri, load, LOAD_DISK_BYTES, setting.seconds) };
    },
  };
  return {
    name: `export, ${describeLoad(load)}`,
    unit: 'IOPS',
    ours: side(setting.ours),
    peers: [
      ...(setting.qsd ? [side(setting.qsd)] : []),
      ...(setting.others.has('nbdkit') ? [nbdkit] : []),
    ],
  };
}

function exportWithMirror(setting: Setting, load: Load, mode: CopyMode): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const server = await startContender(scope, contender, file);
      const mirror = await Mirror.prepare(scope, server, file, LOAD_DISK_BYTES);
      await mirror.untilReady(mode);
      const value = await runLoad(server.uri, load, LOAD_DISK_BYTES, setting.seconds);
      await mirror.finish();
      return { value, peakMemory: server.peakMemory() };
    },
  });
  return {
    name: `mirror ${mode}, ${describeLoad(load)}`,
    unit: 'IOPS',
    ours: side(setting.ours),
    peers: setting.qsd ? [side(setting.qsd)] : [],
  };
}

function describeLoad({ pattern, blockSize, depth }: Load): string {
  const size = blockSize >= MiB ? `${blockSize / MiB} MiB` : `${blockSize / 1024} KiB`;
  return `${size} ${pattern}, depth ${depth}`;
}
