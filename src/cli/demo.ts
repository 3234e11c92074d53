import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { firstDifference } from '../daemon/compare.ts';
import type { Daemon } from '../daemon/daemon.ts';
import { SampleLoad } from '../daemon/sample-load.ts';
import { UsageError } from '../util/errors.ts';
import { MiB } from '../util/limits.ts';
import { formatBytes } from '../util/units.ts';
import { type LogOptions, makeLog } from './logger.ts';
import { MirrorWatch } from './mirror-watch.ts';
import { makeDaemon, stopSignal } from './run-daemon.ts';
import { packageFile } from './version.ts';

/**
 * `demo` (`npm start`): everything there is, on one machine and with nothing but temporary files. A
 * source disk with an ext4 file system and some room behind it, where a client writes; a target
 * that another server of this process holds in memory; a live mirror between them over a socket.
 */
const DISK_BYTES = 256 * MiB;
const WRITES_PER_SECOND = 200;

interface DemoOptions extends LogOptions {
  readonly once: boolean;
}

interface Demo {
  readonly directory: string;
  readonly daemon: Daemon;
  readonly target: Daemon;
  readonly load: SampleLoad;
}

export async function demo(options: DemoOptions): Promise<void> {
  const stopped = stopSignal();
  const directory = makeDirectory();
  const log = makeLog(options);
  const daemon = makeDaemon(log);
  const target = makeDaemon(log);
  const watch = new MirrorWatch(daemon);
  try {
    const load = await setUp(directory, daemon, target);
    introduce(directory, options.once);
    const running = { directory, daemon, target, load };
    const work = options.once ? runOnce(running, watch) : daemon.quitting;
    await Promise.race([work, stopped, load.failed]);
    await load.stop();
  } finally {
    watch.stop();
    await daemon.close();
    await target.close();
    rmSync(directory, { recursive: true });
  }
}

function makeDirectory(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'nbd-mirror-demo-'));
  } catch (error) {
    throw new UsageError(`Cannot make a directory in ${tmpdir()}: ${(error as Error).message}`);
  }
}

async function setUp(directory: string, daemon: Daemon, target: Daemon): Promise<SampleLoad> {
  const disk = join(directory, 'source.raw');
  const fileSystemBytes = makeDisk(disk);
  await target.dispatcher.call('blockdev-add', {
    driver: 'x-memory',
    'node-name': 'disk',
    size: DISK_BYTES,
    discard: 'unmap',
  });
  await exportNode(target, 'disk', join(directory, 'target.sock'));

  const { dispatcher } = daemon;
  await daemon.listenQmp({
    address: { type: 'unix', path: join(directory, 'qmp.sock') },
    webSocket: false,
  });
  await dispatcher.call('blockdev-add', {
    driver: 'file',
    filename: disk,
    'node-name': 'source',
    discard: 'unmap',
  });
  await dispatcher.call('blockdev-add', {
    driver: 'nbd',
    server: { type: 'unix', path: join(directory, 'target.sock') },
    'node-name': 'target',
    discard: 'unmap',
  });
  await exportNode(daemon, 'source', join(directory, 'source.sock'));
  const load = await SampleLoad.start({
    address: { type: 'unix', path: join(directory, 'source.sock') },
    offset: fileSystemBytes,
    length: DISK_BYTES - fileSystemBytes,
    writesPerSecond: WRITES_PER_SECOND,
  });
  await dispatcher.call('blockdev-mirror', {
    'job-id': 'mirror0',
    device: 'source',
    target: 'target',
    sync: 'full',
    'filter-node-name': 'mirror-top',
    // Slow enough to be watched.
    speed: 64 * MiB,
  });
  return load;
}

/** A sparse file that begins with a file system; returns the file system's size. */
function makeDisk(path: string): number {
  const image = gunzipSync(readFileSync(packageFile('fixtures/demo-disk.ext4.gz')));
  try {
    const fd = openSync(path, 'wx');
    ftruncateSync(fd, DISK_BYTES);
    const empty = Buffer.alloc(MiB);
    for (let at = 0; at < image.length; at += MiB) {
      const piece = image.subarray(at, at + MiB);
      if (!piece.equals(empty)) writeAll(fd, piece, at);
    }
    closeSync(fd);
  } catch (error) {
    throw new UsageError(`Cannot make the sample disk ${path}: ${(error as Error).message}`);
  }
  return image.length;
}

/** Where there is little room, a write takes what fits and only the next one fails. */
function writeAll(fd: number, data: Buffer, offset: number): void {
  for (let at = 0; at < data.length; ) at += writeSync(fd, data, at, data.length - at, offset + at);
}

async function exportNode(daemon: Daemon, node: string, socket: string): Promise<void> {
  await daemon.dispatcher.call('nbd-server-start', {
    addr: { type: 'unix', data: { path: socket } },
  });
  await daemon.dispatcher.call('block-export-add', {
    type: 'nbd',
    id: 'export0',
    'node-name': node,
    name: '',
    writable: true,
  });
}

function introduce(directory: string, once: boolean): void {
  const socket = (name: string) => join(directory, name);
  process.stdout.write(
    `source   nbd+unix:///?socket=${socket('source.sock')}\n` +
      `target   nbd+unix:///?socket=${socket('target.sock')}\n` +
      `QMP      unix:${socket('qmp.sock')}\n` +
      `         nbd-mirror status --qmp unix:${socket('qmp.sock')}\n` +
      (once ? '' : 'Ctrl-C ends it.\n'),
  );
}

async function runOnce({ daemon, target, load }: Demo, watch: MirrorWatch): Promise<void> {
  const begin = performance.now();
  const { dispatcher } = daemon;
  const told = new Map<string, (data: unknown) => void>();
  const event = (name: string) => new Promise((resolve) => told.set(name, resolve));
  const [ready, completed] = [event('BLOCK_JOB_READY'), event('BLOCK_JOB_COMPLETED')];
  dispatcher.onEvent(({ event: name, data }) => told.get(name)?.(data));
  const [job] = await dispatcher.call('query-block-jobs');
  if (!job?.ready) await ready;
  await load.stop();
  await dispatcher.call('job-complete', { id: 'mirror0' });
  const { offset: transferredBytes } = (await completed) as { readonly offset: number };
  const seconds = ((performance.now() - begin) / 1000).toFixed(2);
  watch.stop();
  const source = daemon.storage.graph.find('source')!;
  const copy = target.storage.graph.find('disk')!;
  const difference = await firstDifference(source, copy);
  if (difference !== undefined) {
    throw new UsageError(`Source and target differ at byte ${difference}`);
  }
  // Most of the disk is empty, and what is written again is transferred again.
  process.stdout.write(
    `mirrored a disk of ${formatBytes(DISK_BYTES)} in ${seconds} s: transferred ` +
      `${formatBytes(transferredBytes)} while a client made ${load.writes} writes; ` +
      'source and target are equal\n',
  );
}
