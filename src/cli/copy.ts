import { existsSync, rmSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { isNbdUri } from '../../protocol/nbd/uri.ts';
import type { Arguments } from '../../protocol/qmp/schema.ts';
import type { Daemon } from '../daemon/daemon.ts';
import { UsageError } from '../util/errors.ts';
import { diskOptions, isSameFile } from './arguments.ts';
import { tellImage } from './image-format.ts';
import { type LogOptions, makeLateLog } from './logger.ts';
import { MirrorWatch } from './mirror-watch.ts';
import { makeDaemon } from './run-daemon.ts';
import { createFile, sizeOf } from './serve.ts';

/**
 * `copy`: a mirror without clients that ends when it is READY. A target that is larger than the
 * source is written at its beginning; a file that is not there is made, and taken away again when
 * the copy fails or is interrupted, whatever it has got by then.
 */
interface CopyOptions extends LogOptions {
  readonly targetIsZero: boolean;
  readonly speed: number;
  readonly progress: boolean;
  readonly quiet: boolean;
}

type NodeOptions = Arguments<'blockdev-add'>;

/**
 * How much code V8 runs before it compiles a function well, in bytes of bytecode (132 KiB
 * in Node 20). A copy has little code to run, because the kernel does the work, and most are over
 * before it pays: of 2 GiB in memory the compiler takes more processor time than all our code.
 */
const INTERRUPT_BUDGET = 2_000_000;

/** What the size of a `raw` node is a multiple of. */
const SECTOR_BYTES = 512;

/** How far a copy is, for what one that does not get to its end leaves behind. */
interface Progress {
  /** The target is a file of ours. */
  created: boolean;
  /** The target may have got something. */
  begun: boolean;
  watch?: MirrorWatch | undefined;
}

export async function copy(source: string, target: string, options: CopyOptions): Promise<void> {
  assertDisks(source, target);
  setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET}`);
  const progress: Progress = { created: false, begun: false };
  const over = onSignal(() => interrupt(target, progress));
  const daemon = makeDaemon(makeLateLog(options));
  try {
    await daemon.dispatcher.call('blockdev-add', {
      ...diskOptions(source),
      'node-name': 'source',
      'read-only': true,
    } as NodeOptions);
    await tellImage(source);
    const size = await sizeOf(daemon, 'source');
    progress.created = !isNbdUri(target) && !existsSync(target) && createFile(target, size);
    const node = await addTarget(daemon, source, target, size);
    const failure = await mirrorOnce(daemon, node, options, progress);
    if (failure !== undefined) {
      const left = takeAway(target, progress) ? 'is removed again' : 'may be half copied';
      throw new UsageError(`Cannot copy ${source} to ${target}: ${failure}; ${target} ${left}`);
    }
  } catch (error) {
    takeAway(target, progress);
    throw error;
  } finally {
    // Nothing is half done any more.
    over();
    await daemon.close();
  }
}

function assertDisks(source: string, target: string): void {
  const doing = `Cannot copy ${source} to ${target}`;
  if ([source, target].includes('-')) {
    throw new UsageError(`${doing}: disks are no pipes (./- is a file of that name)`);
  }
  if (isSameFile(source, target)) throw new UsageError(`${doing}: they are the same file`);
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `listener` before a signal ends us; until the returned function is called. Another signal
 * meanwhile ends us without. We do not take things down in order as a daemon does: nobody is to be
 * answered, and what a target has got of half a copy need not be flushed, which can take minutes.
 */
function onSignal(listener: () => void): () => void {
  const ignore = () => {
    for (const signal of SIGNALS) process.off(signal, end);
  };
  const end = (_name: string, number: number) => {
    ignore();
    listener();
    process.exit(128 + number);
  };
  for (const signal of SIGNALS) process.on(signal, end);
  return ignore;
}

function interrupt(target: string, progress: Progress): void {
  const { begun, watch } = progress;
  watch?.stop();
  const what = !begun && !progress.created ? 'nothing was copied' : `${target} is half copied`;
  const left = takeAway(target, progress) ? `${target} is removed again` : what;
  process.stderr.write(`nbd-mirror: copy was interrupted: ${left}\n`);
}

/** Whether a file of ours is gone now: its directory may have become read-only meanwhile. */
function takeAway(target: string, progress: Progress): boolean {
  if (!progress.created) return false;
  try {
    rmSync(target, { force: true });
    progress.created = false;
    return true;
  } catch {
    return false;
  }
}

/** Returns the node to copy to. */
async function addTarget(
  daemon: Daemon,
  source: string,
  target: string,
  size: number,
): Promise<string> {
  const disk = { ...diskOptions(target), discard: 'unmap' } as NodeOptions;
  await daemon.dispatcher.call('blockdev-add', { ...disk, 'node-name': 'target' });
  await tellImage(target);
  const bytes = await sizeOf(daemon, 'target');
  if (bytes < size) {
    throw new UsageError(`Target ${target} is too small: it has ${bytes} bytes, not ${size}`);
  }
  if (bytes === size) return 'target';
  // A window has whole sectors.
  if (size % SECTOR_BYTES !== 0) {
    throw new UsageError(
      `Cannot copy ${source} to ${target}: the source has ${size} bytes, which is no multiple of ` +
        `${SECTOR_BYTES}, so the target must have exactly as many, not ${bytes}`,
    );
  }
  // A window, so that the mirror sees two disks of one size.
  await daemon.dispatcher.call('blockdev-add', {
    driver: 'raw',
    'node-name': 'window',
    file: 'target',
    size,
    discard: 'unmap',
  });
  return 'window';
}

/** Returns why it failed. */
async function mirrorOnce(
  daemon: Daemon,
  target: string,
  options: CopyOptions,
  progress: Progress,
): Promise<string | undefined> {
  const shows = options.progress || (!options.quiet && process.stderr.isTTY === true);
  progress.watch = shows ? new MirrorWatch(daemon) : undefined;
  progress.begun = true;
  try {
    const ended = new Promise<string | undefined>((resolve) => {
      let reason: string | undefined;
      daemon.dispatcher.onEvent(({ event, data }) => {
        if (event === 'BLOCK_JOB_READY') {
          // Refused when the process is ending: then the job is cancelled anyway.
          daemon.dispatcher.call('block-job-cancel', { device: 'copy' }).catch(() => {});
        } else if (event === 'BLOCK_JOB_ERROR') {
          reason = (data as { 'x-reason': string })['x-reason'];
        } else if (event === 'BLOCK_JOB_COMPLETED') {
          const { error } = data as { error?: string };
          resolve(error && (reason ?? error));
        }
      });
    });
    await daemon.dispatcher.call('blockdev-mirror', {
      'job-id': 'copy',
      device: 'source',
      target,
      sync: 'full',
      speed: options.speed,
      'target-is-zero': options.targetIsZero || progress.created,
    });
    return await ended;
  } finally {
    progress.watch?.stop();
  }
}
