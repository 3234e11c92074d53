/**
 * What is measured. A workload knows how each of its sides is run; `measure` starts everything
 * anew, so that peak memory is that of one workload, and nothing is left over from the run before.
 */
import { mustRun } from '../support/process.ts';
import { hasTool } from '../support/tools.ts';
import { socketOf } from './address.ts';
import { type Load, runLoad } from './fio.ts';
import { GiB, MiB, SPARSE_DATA_BYTES } from './images.ts';
import { COMPILER, onlyMirror, onlyMirrorInC, onlyReceive, onlySend } from './limit.ts';
import { type CopyMode, compare, Mirror } from './mirror.ts';
import { type Contender, startContender, startNbdkit } from './peers.ts';
import { STORAGES } from './storage.ts';
import {
  CountingTarget,
  farTarget,
  filled,
  holding,
  memoryTarget,
  type Target,
  withoutExtents,
} from './target.ts';
import { loopDelay, uncached, waitOfAnother } from './uncached.ts';
import {
  describeLoad,
  LIMIT,
  LOAD_DISK_BYTES,
  type Setting,
  type Side,
  underLoad,
  type Workload,
  warmUp,
} from './workload.ts';

export function allWorkloads(setting: Setting): Workload[] {
  const { images } = setting;
  const size = 2 * GiB;
  const random = {
    size,
    dataBytes: size,
    image: () => images.random(size),
    target: filled(memoryTarget),
  };
  return [
    startToListening(setting),
    fullMirror(setting, { name: 'full mirror, 2 GiB of random data', ...random }),
    untilReady(setting, {
      name: 'full mirror, 2 GiB of random data, fourth of a process',
      ...random,
      mirrorsBefore: 3,
    }),
    fullMirror(setting, {
      name: 'full mirror, 2 GiB of random data, target without memory',
      ...random,
      target: memoryTarget,
    }),
    copy(setting, { name: 'copy, 2 GiB of random data', ...random }),
    copy(setting, {
      name: 'copy, 2 GiB of random data, target without memory',
      ...random,
      target: memoryTarget,
    }),
    ...[64, 1024].map((size) =>
      fullMirror(setting, {
        name: `full mirror, sparse ${size === 64 ? '64 GiB' : '1 TiB'} with 112 MiB of data`,
        size: size * GiB,
        dataBytes: SPARSE_DATA_BYTES,
        image: (bytes: number) => images.sparse(bytes),
        target: memoryTarget,
      }),
    ),
    untilReady(setting, {
      name: 'full mirror, sparse 64 GiB with 112 MiB of data, target with older data',
      size: 64 * GiB,
      dataBytes: SPARSE_DATA_BYTES,
      image: (bytes) => images.sparse(bytes),
      target: holding((bytes) => images.sparse(bytes, 'older'), memoryTarget),
    }),
    untilReady(setting, {
      name: 'mirror of 4096 small runs, target with 5 ms of delay',
      size: GiB,
      dataBytes: 16 * MiB,
      image: (size) => images.strewn(size),
      target: farTarget(5),
      isStrewn: true,
    }),
    // 64 requests of 1 MiB on their way: a link of 1.3 GB/s whose other end is 50 ms away.
    ...[
      { name: 'mirror of 1 GiB, target with 50 ms of delay', target: filled(farTarget(50)) },
      {
        name: 'mirror of 1 GiB, target with 50 ms of delay and without memory',
        target: farTarget(50),
      },
    ].map((far) =>
      farMirror(setting, {
        ...far,
        size: GiB,
        dataBytes: GiB,
        image: (size) => images.random(size),
        requestsInFlight: 64,
      }),
    ),
    ...LOADS.map((load) => plainExport(setting, load)),
    ...(['background', 'write-blocking'] as const).flatMap((mode) =>
      LOADS.filter(({ pattern }) => pattern.endsWith('write')).map((load) =>
        exportWithMirror(setting, load, mode),
      ),
    ),
    firstSeconds(setting, SMALL_WRITES, 'write-blocking'),
    bytesSent(setting, SMALL_WRITES),
    ...overTcp({ ...setting, network: 'tcp' }, random),
    ...(setting.isRoot ? STORAGES : []).flatMap((storage) => [
      ...[SMALL_READS, SMALL_WRITES].map((load) => uncached(setting, storage, load)),
      waitOfAnother(setting, storage, SMALL_READS),
      loopDelay(setting, storage, SMALL_READS),
    ]),
  ];
}

/** Without most limits: the programs that only move bytes know Unix sockets alone. */
function overTcp(setting: Setting, random: Omit<Job, 'name'>): Workload[] {
  return [
    fullMirror(setting, { name: 'full mirror, 2 GiB of random data', ...random }),
    copy(setting, { name: 'copy, 2 GiB of random data', ...random }),
    ...LOADS.filter(({ depth }) => depth > 1).map((load) => plainExport(setting, load)),
    ...(['background', 'write-blocking'] as const).map((mode) =>
      exportWithMirror(setting, SMALL_WRITES, mode),
    ),
  ].map((workload) => ({ ...workload, name: `${workload.name}, over TCP` }));
}

/** A few that speak for the rest. */
export const SHORT_WORKLOADS: readonly string[] = [
  'full mirror, 2 GiB of random data',
  'export, 4 KiB random writes, depth 16',
  'write-blocking mirror, 4 KiB random writes, depth 16',
];

/** Against qemu-storage-daemon alone. */
export function shortWorkloads(setting: Setting): Workload[] {
  return allWorkloads(setting)
    .filter(({ name }) => SHORT_WORKLOADS.includes(name))
    .map((workload) => ({
      ...workload,
      peers: workload.peers.filter(({ name }) => name === setting.qsd.name),
    }));
}

const SMALL_READS: Load = { pattern: 'randread', blockSize: 4096, depth: 16 };
const SMALL_WRITES: Load = { pattern: 'randwrite', blockSize: 4096, depth: 16 };

const LOADS: readonly Load[] = [
  { pattern: 'randread', blockSize: 4096, depth: 1 },
  SMALL_READS,
  { pattern: 'read', blockSize: MiB, depth: 8 },
  { pattern: 'randwrite', blockSize: 4096, depth: 1 },
  SMALL_WRITES,
  { pattern: 'write', blockSize: MiB, depth: 8 },
];

/** A mirror to READY of an image of `size` bytes, of which `dataBytes` are to be copied. */
interface Job {
  name: string;
  size: number;
  dataBytes: number;
  image: (size: number) => Promise<string>;
  target: Target;
  /** Its data stands in so many places that comparing has to read all of it. */
  isStrewn?: boolean;
  /** That the process has made: its code is compiled, its pools are filled. */
  mirrorsBefore?: number;
  /** Of a program that only sends. */
  requestsInFlight?: number;
}

function untilReady(setting: Setting, job: Job): Workload {
  const { name, size, dataBytes, image, target, isStrewn = false, mirrorsBefore = 0 } = job;
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await image(size);
      const server = await startContender(scope, contender, file, setting.network);
      if (mirrorsBefore > 0) {
        // Not to the same target: then the comparison at the end would say nothing.
        const elsewhere = await target(scope, size, setting.network);
        for (let left = mirrorsBefore; left > 0; left--) {
          const mirror = await Mirror.prepare(server, file, elsewhere);
          await mirror.untilReady('background');
          await mirror.finish();
        }
      }
      const uri = await target(scope, size, setting.network);
      const readAt = isStrewn ? await withoutExtents(scope, uri) : uri;
      const mirror = await Mirror.prepare(server, file, uri, readAt);
      const before = server.cpuSeconds();
      const value = await mirror.untilReady('background');
      const cpu = (server.cpuSeconds() - before) / (dataBytes / GiB);
      await mirror.finish();
      return { value, cpu, peakMemory: server.peakMemory() };
    },
  });
  const peers = setting.qsds.map(side);
  return { name, unit: 's', ours: side(setting.ours), peers };
}

/** Beside a program that only copies, and one that only sends. */
function fullMirror(setting: Setting, job: Job): Workload {
  const mirror = untilReady(setting, job);
  return {
    ...mirror,
    peers: [...mirror.peers, ...nbdcopies(setting, job), ...onlySending(setting, job)],
  };
}

/** Beside a program that only sends. */
function farMirror(setting: Setting, job: Job): Workload {
  const mirror = untilReady(setting, job);
  return { ...mirror, peers: [...mirror.peers, ...onlySending(setting, job)] };
}

/** How long the target takes for as much data when nobody looks for it, or at it. */
function onlySending(setting: Setting, job: Job): Side[] {
  if (setting.network !== 'unix' || !hasTool('python3')) return [];
  const { size, dataBytes, target, requestsInFlight = 16 } = job;
  const side = (name: string, askedBytes: number): Side => ({
    name: `${LIMIT}${name}`,
    async measure(scope) {
      const file = await setting.images.random(dataBytes);
      const uri = await target(scope, size, setting.network);
      const how = { requestsInFlight, askedBytes };
      return { value: await onlySend({ file, size: dataBytes }, uri, how) };
    },
  });
  const isSparse = dataBytes < size;
  return [
    side('only sending', 0),
    // Where most is zero it has to be known that the target is zero there too.
    ...(isSparse ? [side('asking and sending', size)] : []),
  ];
}

/** Our own copy of a disk that nobody uses. */
function copy(setting: Setting, job: Job): Workload {
  const ours = copying(setting, setting.ours.name, job, (file, uri) =>
    mustRun(process.execPath, [setting.ours.command[1]!, 'copy', file, uri]),
  );
  const peers = [...nbdcopies(setting, job), ...onlySending(setting, job)];
  return { name: job.name, unit: 's', ours, peers };
}

function nbdcopies(setting: Setting, job: Job): Side[] {
  const version = setting.others.get('nbdcopy');
  if (version === undefined) return [];
  const run = (file: string, uri: string) => mustRun('nbdcopy', [file, uri]);
  return [copying(setting, `nbdcopy ${version}`, job, run)];
}

function copying(
  setting: Setting,
  name: string,
  { size, image, target }: Job,
  run: (file: string, uri: string) => Promise<unknown>,
): Side {
  return {
    name,
    async measure(scope) {
      const file = await image(size);
      const uri = await target(scope, size, setting.network);
      const start = performance.now();
      await run(file, uri);
      const value = (performance.now() - start) / 1000;
      await compare(file, uri);
      return { value };
    },
  };
}

function startToListening(setting: Setting): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const start = performance.now();
      const server = await startContender(scope, contender, file, setting.network);
      return { value: (performance.now() - start) / 1000, peakMemory: server.peakMemory() };
    },
  });
  return {
    name: 'from start to listening',
    unit: 's',
    ours: side(setting.ours),
    peers: [side(setting.qsd)],
  };
}

/** Requests a second of a server that is not asked for its processor time. */
async function warmIops(uri: string, load: Load, seconds: number): Promise<number> {
  await warmUp(uri, load);
  return (await runLoad(uri, load, LOAD_DISK_BYTES, seconds)).iops;
}

function plainExport(setting: Setting, load: Load): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const server = await startContender(scope, contender, file, setting.network);
      await warmUp(server.uri, load);
      const { value, cpu } = await underLoad(server, load, setting.seconds);
      await compare(file, server.uri);
      return { value, cpu, peakMemory: server.peakMemory() };
    },
  });
  const nbdkit: Side = {
    name: `nbdkit file ${setting.others.get('nbdkit')}`,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const uri = await startNbdkit(scope, setting.network, ['file', file]);
      const value = await warmIops(uri, load, setting.seconds);
      await compare(file, uri);
      return { value };
    },
  };
  const forgetful: Side = {
    name: `${LIMIT}nbdkit null`,
    async measure(scope) {
      const uri = await startNbdkit(scope, setting.network, ['null', String(LOAD_DISK_BYTES)]);
      return { value: await warmIops(uri, load, setting.seconds) };
    },
  };
  // Not for small writes: with these its interpreter is what limits.
  const receiving: Side = {
    name: `${LIMIT}only receiving`,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      return { value: await warmIops(await onlyReceive(scope, file), load, setting.seconds) };
    },
  };
  const isReceiving = setting.network === 'unix' && load.pattern === 'write' && hasTool('python3');
  return {
    name: `export, ${describeLoad(load)}`,
    unit: 'IOPS',
    ours: side(setting.ours),
    peers: [side(setting.qsd), nbdkit, forgetful, ...(isReceiving ? [receiving] : [])],
  };
}

function exportWithMirror(setting: Setting, load: Load, mode: CopyMode): Workload {
  const side = withMirror(setting, load, mode, warmUp);
  // What the mirror costs those who write: the same disk without one.
  const alone = plainExport(setting, load).ours;
  // What nobody can beat by much who writes to both sides before it answers.
  const onlyMirroring = (language: string, start: typeof onlyMirror): Side => ({
    name: `${LIMIT}only mirroring, in ${language}`,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const target = await filled(memoryTarget)(scope, LOAD_DISK_BYTES, setting.network);
      const uri = await start(scope, file, target);
      return { value: await warmIops(uri, load, setting.seconds) };
    },
  });
  // Who has a thread for each request, and no source.
  const relay: Side = {
    name: `${LIMIT}relay in C without a source`,
    async measure(scope) {
      const target = await memoryTarget(scope, LOAD_DISK_BYTES, setting.network);
      const uri = await startNbdkit(scope, setting.network, ['nbd', `socket=${socketOf(target)}`]);
      return { value: await warmIops(uri, load, setting.seconds) };
    },
  };
  // Each write goes to us and from us to the target. At depth 1 the two follow each other; at more
  // the same processors work for both.
  const twoTrips: Side = {
    name: `${LIMIT}two trips`,
    async measure(scope) {
      const toUs = (await alone.measure(scope)).value;
      const target = await filled(memoryTarget)(scope, LOAD_DISK_BYTES, setting.network);
      const toTarget = await warmIops(target, load, setting.seconds);
      return { value: 1 / (1 / toUs + 1 / toTarget) };
    },
  };
  const limits = [
    ...(hasTool(COMPILER) ? [onlyMirroring('C', onlyMirrorInC)] : []),
    onlyMirroring('JavaScript', onlyMirror),
    relay,
    twoTrips,
  ];
  return {
    name: `${mode} mirror, ${describeLoad(load)}`,
    unit: 'IOPS',
    ours: side(setting.ours),
    peers: [
      side(setting.qsd),
      { ...alone, name: 'our own export without it' },
      ...(setting.network === 'unix' && mode === 'write-blocking' ? limits : []),
    ],
  };
}

function firstSeconds(setting: Setting, load: Load, mode: CopyMode): Workload {
  const side = withMirror(setting, load, mode, async () => {});
  return {
    name: `${mode} mirror, ${describeLoad(load)}, first seconds of a process`,
    unit: 'IOPS',
    ours: side(setting.ours),
    peers: [side(setting.qsd)],
  };
}

/** Under load while a mirror is READY. */
function withMirror(setting: Setting, load: Load, mode: CopyMode, before: typeof warmUp) {
  return (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const server = await startContender(scope, contender, file, setting.network);
      const target = await memoryTarget(scope, LOAD_DISK_BYTES, setting.network);
      const mirror = await Mirror.prepare(server, file, target);
      await mirror.untilReady(mode);
      await before(server.uri, load);
      const { value, cpu } = await underLoad(server, load, setting.seconds);
      await mirror.finish();
      return { value, cpu, peakMemory: server.peakMemory() };
    },
  });
}

/** A workload of its own: a target that counts is slower. */
function bytesSent(setting: Setting, load: Load): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const file = await setting.images.randomByPage(LOAD_DISK_BYTES);
      const server = await startContender(scope, contender, file, setting.network);
      const target = await CountingTarget.start(scope, LOAD_DISK_BYTES, setting.network);
      const mirror = await Mirror.prepare(server, file, target.uri);
      await mirror.untilReady('background');
      const { cpu, writtenBytes } = await underLoad(server, load, setting.seconds);
      await mirror.finish();
      // Until READY it got the disk, all of which is data.
      const sent = (await target.stop()) - LOAD_DISK_BYTES;
      return { value: sent / writtenBytes, cpu, peakMemory: server.peakMemory() };
    },
  });
  return {
    name: `bytes sent for each written, background mirror, ${describeLoad(load)}`,
    unit: 'B/B',
    ours: side(setting.ours),
    peers: [side(setting.qsd)],
  };
}
