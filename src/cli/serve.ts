import { closeSync, existsSync, ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { formatNbdUri, isNbdUri } from '../../protocol/nbd/uri.ts';
import type { Arguments } from '../../protocol/qmp/schema.ts';
import type { Daemon } from '../daemon/daemon.ts';
import { isLoopback, type SocketAddress } from '../net/address.ts';
import { systemClock } from '../util/clock.ts';
import { UsageError } from '../util/errors.ts';
import { diskOptions, fileDriver, isSameFile } from './arguments.ts';
import { tellImage } from './image-format.ts';
import { MirrorWatch } from './mirror-watch.ts';
import { sayLine } from './output.ts';
import { type DaemonOptions, runDaemon } from './run-daemon.ts';

/** `serve` and `receive`: an export, and its mirrors. */
interface ListenOptions extends DaemonOptions {
  readonly exportName: string;
  readonly description?: string;
  readonly bind: string;
  readonly port: number;
  readonly socket?: string;
  readonly shared: number;
}

interface ServeOptions extends ListenOptions {
  readonly source: string;
  readonly target?: readonly string[];
  readonly readOnly: boolean;
  readonly offset?: number;
  readonly size?: number;
  readonly cache?: 'writeback' | 'none';
  readonly discard?: 'unmap' | 'ignore';
  readonly detectZeroes?: 'off' | 'on' | 'unmap';
  readonly sync: 'full' | 'top' | 'none';
  readonly bitmap?: string;
  readonly granularity?: number;
  readonly copyMode: 'background' | 'write-blocking';
  /** Seconds. */
  readonly reconnectDelay: number;
  readonly speed: number;
}

type NodeOptions = Arguments<'blockdev-add'>;

/** The one export. */
const EXPORT_ID = 'export0';

/** `isGiven`: on the command line, as opposed to by default. */
export async function serve(
  options: ServeOptions,
  isGiven: (option: keyof ServeOptions) => boolean,
): Promise<void> {
  const targets = options.target ?? [];
  if (options.readOnly && targets.length > 0) {
    throw new UsageError(
      'A read-only export is never written to, so --target makes no sense; use copy',
    );
  }
  assertEffective(options, targets, isGiven);
  assertDistinct(options.source, targets);
  let watch: MirrorWatch | undefined;
  await runDaemon(options, async (daemon) => {
    tellWhatIsNotCopied(options, targets);
    await daemon.dispatcher.call('blockdev-add', sourceNode(options));
    await tellImage(options.source);
    for (const [index, target] of targets.entries()) {
      await addTarget(daemon, index, target, options);
    }
    // An address that cannot be had is found out before a target is written to. The export comes
    // last: what its clients write has to be seen by the mirrors.
    await listen(daemon, options);
    if (targets.length > 0) watch = new MirrorWatch(daemon);
    dismissWhatWentWell(daemon, targets);
    tellNewDisk(daemon);
    for (const index of targets.keys()) await startMirror(daemon, index, options);
    await addExport(daemon, options, 'source', !options.readOnly);
  }).finally(() => watch?.stop());
}

export async function receive(
  file: string,
  options: ListenOptions & { readonly size?: number },
): Promise<void> {
  const created = options.size !== undefined && createFile(file, options.size);
  let serving = false;
  try {
    await runDaemon(options, async (daemon) => {
      await daemon.dispatcher.call('blockdev-add', {
        driver: fileDriver(file),
        filename: file,
        'node-name': 'disk',
        discard: 'unmap',
      });
      await tellImage(file);
      await assertSize(daemon, file, options.size);
      await listen(daemon, options);
      await addExport(daemon, options, 'disk', true);
      serving = true;
    });
  } catch (error) {
    // Nobody could write to it yet: leave things as they were.
    if (created && !serving) unlinkSync(file);
    throw error;
  }
}

function sourceNode(options: ServeOptions): NodeOptions {
  const { readOnly, offset, size, cache, discard = 'unmap', detectZeroes } = options;
  const isWindow = offset !== undefined || size !== undefined;
  const disk = {
    ...patientDisk(options.source, options),
    'read-only': readOnly,
    discard,
    ...(detectZeroes && { 'detect-zeroes': detectZeroes }),
    ...(cache === 'none' && { cache: { direct: true } }),
  } as NodeOptions;
  if (!isWindow) return { ...disk, 'node-name': 'source' };
  return {
    driver: 'raw',
    'node-name': 'source',
    'read-only': readOnly,
    discard,
    file: disk,
    ...(offset !== undefined && { offset }),
    ...(size !== undefined && { size }),
  };
}

/** A server that goes away is waited for. */
function patientDisk(where: string, { reconnectDelay }: ServeOptions) {
  return {
    ...diskOptions(where),
    ...(isNbdUri(where) && { 'reconnect-delay': reconnectDelay }),
  };
}

const FOR_MIRRORS = ['sync', 'bitmap', 'granularity', 'copyMode', 'speed'] as const;

/** What would be ignored is a mistake: somebody wants a mirror and has none. */
function assertEffective(
  { source }: ServeOptions,
  targets: readonly string[],
  isGiven: (option: keyof ServeOptions) => boolean,
): void {
  const refuse = (option: string, why: string) => {
    const word = option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(`--${word} makes no sense ${why}`);
  };
  for (const option of FOR_MIRRORS) {
    if (targets.length === 0 && isGiven(option)) refuse(option, 'without --target');
  }
  if (isGiven('reconnectDelay') && ![source, ...targets].some(isNbdUri)) {
    refuse('reconnectDelay', 'without a --source or --target that is an NBD URI');
  }
  if (isNbdUri(source) && isGiven('cache')) refuse('cache', 'with a --source that is an NBD URI');
}

/** Its lock would be refused as well, but as if somebody else had the file. */
function assertDistinct(source: string, targets: readonly string[]): void {
  for (const [index, target] of targets.entries()) {
    if (isSameFile(source, target)) {
      throw new UsageError(`Cannot mirror ${source} to ${target}: they are the same file`);
    }
    const earlier = targets.slice(0, index).find((other) => isSameFile(other, target));
    if (earlier !== undefined) {
      throw new UsageError(`Cannot mirror to ${earlier} and ${target}: they are the same file`);
    }
  }
}

/** Opens a target; one of another size is refused before anything runs. */
async function addTarget(daemon: Daemon, index: number, target: string, options: ServeOptions) {
  const { source } = options;
  const node = `target${index}`;
  await daemon.dispatcher.call('blockdev-add', {
    ...patientDisk(target, options),
    'node-name': node,
    discard: 'unmap',
  } as NodeOptions);
  await tellImage(target);
  const [sourceBytes, targetBytes] = [await sizeOf(daemon, 'source'), await sizeOf(daemon, node)];
  if (sourceBytes === targetBytes) return;
  throw new UsageError(
    `Cannot mirror ${source} to ${target}: the source has ${sourceBytes} bytes and the target ` +
      `${targetBytes}; both must be equally large`,
  );
}

/** One that is there already may be another disk than was meant. */
async function assertSize(daemon: Daemon, file: string, wanted: number | undefined): Promise<void> {
  const bytes = await sizeOf(daemon, 'disk');
  if (wanted === undefined || bytes === wanted) return;
  throw new UsageError(`Cannot receive into ${file}: it has ${bytes} bytes, not ${wanted}`);
}

export async function sizeOf(daemon: Daemon, node: string): Promise<number> {
  const nodes = await daemon.dispatcher.call('query-named-block-nodes');
  const found = nodes.find((info) => info['node-name'] === node);
  return found!.image['virtual-size'];
}

async function startMirror(daemon: Daemon, index: number, options: ServeOptions): Promise<void> {
  const { bitmap, granularity, speed, sync, copyMode } = options;
  const jobBitmap = bitmap === undefined || index === 0 ? bitmap : `${bitmap}-${index}`;
  if (jobBitmap !== undefined) {
    await daemon.dispatcher.call('block-dirty-bitmap-add', {
      node: 'source',
      name: jobBitmap,
      ...(granularity !== undefined && { granularity }),
    });
  }
  await daemon.dispatcher.call('blockdev-mirror', {
    'job-id': jobOf(index),
    device: 'source',
    target: `target${index}`,
    'filter-node-name': `mirror-top${index}`,
    sync,
    speed,
    'copy-mode': copyMode,
    'auto-dismiss': false,
    ...(jobBitmap !== undefined && { bitmap: jobBitmap }),
    ...(jobBitmap === undefined && granularity !== undefined && { granularity }),
  });
}

/** What failed stays until an operator has seen it: `status` shows it, and why. */
function dismissWhatWentWell(daemon: Daemon, targets: readonly string[]): void {
  const ours = new Set([...targets.keys()].map(jobOf));
  daemon.dispatcher.onEvent(({ event, data }) => {
    const { id = '', status, device = '', error } = data as Record<string, string | undefined>;
    // Another of this name is the operator's.
    if (event === 'JOB_STATUS_CHANGE' && status === 'null') ours.delete(id);
    const isOver = event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED';
    if (!isOver || error !== undefined || !ours.has(device)) return;
    // Behind the event it is concluded; an operator may have been faster.
    systemClock.defer(() => {
      daemon.dispatcher.call('job-dismiss', { id: device }).catch(() => {});
    });
  });
}

/**
 * An operator hears what the same command line would do the next time, whoever began the mirror
 * that moved the clients: after a failure, or where the target was down, it is his own.
 */
function tellNewDisk(daemon: Daemon): void {
  let told: string | undefined;
  const look = async () => {
    const disk = await otherDisk(daemon);
    if (disk !== undefined && disk !== told) {
      sayLine(
        `nbd-mirror: clients are on ${disk} now: to serve this disk again, give that as --source`,
      );
    }
    told = disk;
  };
  daemon.dispatcher.onEvent(({ event }) => {
    if (event === 'BLOCK_JOB_COMPLETED') look().catch(() => {});
  });
}

/**
 * The file that clients of our export are on when it stands on the source no more, maybe through
 * the filter of another mirror. What else an operator exports says nothing about them.
 */
async function otherDisk(daemon: Daemon): Promise<string | undefined> {
  const exports = await daemon.dispatcher.call('query-block-exports');
  const nodes = await daemon.dispatcher.call('query-named-block-nodes');
  const find = (name: string | undefined) => nodes.find((node) => node['node-name'] === name);
  const top = find(exports.find(({ id }) => id === EXPORT_ID)?.['node-name']);
  for (let node = top; node !== undefined; node = find(node.children[0]?.['node-name'])) {
    if (node['node-name'] === 'source') return undefined;
  }
  return top?.file;
}

/** A mirror that begins so is at once as READY as any, whatever its target holds. */
function tellWhatIsNotCopied(
  { source, bitmap, sync }: ServeOptions,
  targets: readonly string[],
): void {
  if (targets.length === 0 || (bitmap === undefined && sync !== 'none')) return;
  const because = bitmap === undefined ? '--sync none' : '--bitmap';
  process.stderr.write(
    `nbd-mirror: what is in ${source} now is not copied (${because}): ` +
      `${targets.join(', ')} must be equal to it already, each time that this is started\n`,
  );
}

function jobOf(target: number): string {
  return `mirror${target}`;
}

async function listen(daemon: Daemon, options: ListenOptions): Promise<void> {
  const { bind, port, socket, shared } = options;
  const data = socket === undefined ? { host: bind, port: String(port) } : { path: socket };
  await daemon.dispatcher.execute('nbd-server-start', {
    addr: { type: socket === undefined ? 'inet' : 'unix', data },
    'max-connections': shared,
  });
}

async function addExport(
  daemon: Daemon,
  options: ListenOptions,
  node: string,
  writable: boolean,
): Promise<void> {
  const { bind, exportName, description } = options;
  await daemon.dispatcher.call('block-export-add', {
    type: 'nbd',
    id: EXPORT_ID,
    'node-name': node,
    name: exportName,
    writable,
    ...(description !== undefined && { description }),
  });
  for (const address of daemon.nbdAddresses()) {
    process.stdout.write(`${formatNbdUri({ address, exportName, tls: false })}\n`);
    if (isWide(address)) {
      const verb = writable ? 'write' : 'read';
      sayLine(`nbd-mirror: anyone who reaches ${bind} can ${verb} this disk`);
    }
  }
}

function isWide(address: SocketAddress): boolean {
  if (address.type === 'unix') return false;
  return !isLoopback(address.host);
}

/** Makes a sparse file; false when there is one already. */
export function createFile(path: string, size: number): boolean {
  if (existsSync(path)) return false;
  let fd: number | undefined;
  try {
    fd = openSync(path, 'wx');
    ftruncateSync(fd, size);
    return true;
  } catch (error) {
    // Not one of another size: the next attempt would take it for the disk.
    if (fd !== undefined) unlinkSync(path);
    throw new UsageError(`Cannot create ${path}: ${(error as Error).message}`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
