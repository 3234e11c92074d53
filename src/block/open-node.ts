import type { HotSockets } from '../net/hot-sockets.ts';
import { fromTextAddress, type TextAddress } from '../net/text-address.ts';
import type { Syscalls } from '../sys/syscalls.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { FileNode } from './file-node.ts';
import type { NodeUse } from './graph.ts';
import { MemoryNode } from './memory-node.ts';
import { NbdNode } from './nbd-node.ts';
import type { BlockNode, SpaceOptions } from './node.ts';
import { RawNode } from './raw-node.ts';
import type { ThrottleGroup } from './throttle-group.ts';
import { ThrottleNode } from './throttle-node.ts';

/**
 * From the options of a node, in the shape of QMP's `BlockdevOptions`, to the node: one entry a
 * driver. Options that a driver cannot follow are passed over: `aio` by all, `cache` by all but
 * files.
 */
export interface CommonOptions {
  readonly 'node-name'?: string | undefined;
  readonly 'read-only'?: boolean | undefined;
  readonly 'auto-read-only'?: boolean | undefined;
  readonly discard?: 'ignore' | 'unmap' | undefined;
  readonly 'detect-zeroes'?: 'off' | 'on' | 'unmap' | undefined;
  readonly cache?: CacheOptions | undefined;
}

export interface CacheOptions {
  readonly direct?: boolean | undefined;
  readonly 'no-flush'?: boolean | undefined;
}

export interface FileOptions extends CommonOptions {
  readonly driver: 'file' | 'host_device';
  readonly filename: string;
}

export interface RawOptions extends CommonOptions {
  readonly driver: 'raw';
  readonly file: NodeOptions | string;
  readonly offset?: number | undefined;
  readonly size?: number | undefined;
}

export interface ThrottleOptions extends CommonOptions {
  readonly driver: 'throttle';
  readonly 'throttle-group': string;
  readonly file: NodeOptions | string;
}

export interface MemoryOptions extends CommonOptions {
  readonly driver: 'x-memory';
  readonly size: number;
}

export interface NbdOptions extends CommonOptions {
  readonly driver: 'nbd';
  readonly server: TextAddress;
  readonly export?: string | undefined;
  readonly 'tls-creds'?: string | undefined;
  readonly 'tls-hostname'?: string | undefined;
  readonly 'x-dirty-bitmap'?: string | undefined;
  readonly 'reconnect-delay'?: number | undefined;
  readonly 'open-timeout'?: number | undefined;
}

export type NodeOptions = FileOptions | RawOptions | ThrottleOptions | MemoryOptions | NbdOptions;

/** What nodes need from the process around them. */
export interface NodeHost {
  readonly syscalls: Syscalls;
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined where sockets are for the event loop alone. */
  readonly hotSockets?: HotSockets | undefined;
  findThrottleGroup(name: string): ThrottleGroup | undefined;
}

export interface OpenContext extends NodeHost {
  /** Nobody wants the node any more: gives up waiting for its server. */
  readonly signal: AbortSignal;
  /**
   * A use of the node that a parent's option refers to, or describes; it is the parent's to
   * release.
   */
  useChild(parent: string, child: NodeOptions | string, writable: boolean): Promise<NodeUse>;
}

/** Rejects with `BlockError` or `RefusedError`, whose sentence names what is in the way. */
export async function openNode(
  name: string,
  options: NodeOptions,
  context: OpenContext,
): Promise<BlockNode> {
  const space = spaceOf(options);
  const node = await openDriver(name, options, context);
  node.space = space;
  return node;
}

async function openDriver(
  name: string,
  options: NodeOptions,
  context: OpenContext,
): Promise<BlockNode> {
  switch (options.driver) {
    case 'file':
    case 'host_device':
      return openFile(name, options, context);
    case 'raw':
      return openRaw(name, options, context);
    case 'throttle':
      return openThrottle(name, options, context);
    case 'x-memory':
      return openMemory(name, options);
    case 'nbd':
      return openNbd(name, options, context);
  }
}

/** Throws where they contradict each other. */
export function spaceOf(options: CommonOptions): SpaceOptions {
  const { discard = 'ignore', 'detect-zeroes': detectZeroes = 'off' } = options;
  if (detectZeroes === 'unmap' && discard !== 'unmap') {
    throw new RefusedError(
      'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap',
    );
  }
  return { discard, detectZeroes };
}

async function openFile(
  name: string,
  options: FileOptions,
  context: OpenContext,
): Promise<BlockNode> {
  const { driver, filename } = options;
  const node = await openWritableOrNot(name, options, context);
  if (node.driver === driver) return node;
  await node.close();
  const wanted = driver === 'file' ? 'a regular file' : 'either a character or block device';
  throw new RefusedError(`'${driver}' driver requires '${filename}' to be ${wanted}`);
}

async function openWritableOrNot(
  name: string,
  options: FileOptions,
  context: OpenContext,
): Promise<FileNode> {
  const open = (readOnly: boolean) =>
    FileNode.open({
      name,
      filename: options.filename,
      readOnly,
      cache: {
        direct: options.cache?.direct ?? false,
        noFlush: options.cache?.['no-flush'] ?? false,
      },
      ...context,
    });
  const readOnly = options['read-only'] ?? false;
  try {
    return await open(readOnly);
  } catch (error) {
    if (readOnly || !options['auto-read-only'] || !isAccessDenied(error)) throw error;
    return open(true);
  }
}

/** The file itself may not be written to, as opposed to being in use. */
function isAccessDenied(error: unknown): boolean {
  if (!(error instanceof BlockError)) return false;
  const { code } = (error.cause ?? {}) as { code?: unknown };
  return code === 'EACCES' || code === 'EROFS';
}

async function openRaw(
  name: string,
  options: RawOptions,
  context: OpenContext,
): Promise<BlockNode> {
  const { offset = 0, size } = options;
  const use = await context.useChild(name, childOptions(options), !options['read-only']);
  try {
    checkWindow(use.node.size, offset, size);
    return new RawNode(name, use, { offset, ...(size !== undefined && { size }) });
  } catch (error) {
    use.release();
    throw error;
  }
}

async function openThrottle(
  name: string,
  options: ThrottleOptions,
  context: OpenContext,
): Promise<BlockNode> {
  const use = await context.useChild(name, childOptions(options), !options['read-only']);
  try {
    return new ThrottleNode(name, use, throttleGroup(options, context));
  } catch (error) {
    use.release();
    throw error;
  }
}

export function throttleGroup(options: ThrottleOptions, context: NodeHost): ThrottleGroup {
  const { 'throttle-group': name } = options;
  const group = context.findThrottleGroup(name);
  if (group !== undefined) return group;
  throw new RefusedError(`Throttle group '${name}' does not exist`);
}

/**
 * A child that is described in its parent's options takes over what it does not say itself; but not
 * what is to become of zeroes and discards: the parent has followed its own options, and what it
 * lets pass goes on (`bdrv_inherited_options`).
 */
export function childOptions(options: RawOptions | ThrottleOptions): NodeOptions | string {
  if (typeof options.file === 'string') return options.file;
  const inherited: CommonOptions = {
    'read-only': options['read-only'],
    'auto-read-only': options['auto-read-only'],
    discard: 'unmap',
    cache: { ...options.cache, ...options.file.cache },
  };
  const given = Object.entries(options.file).filter(([, value]) => value !== undefined);
  return { ...inherited, ...Object.fromEntries(given), cache: inherited.cache } as NodeOptions;
}

function checkWindow(childSize: number, offset: number, size: number | undefined): void {
  for (const [name, value = 0] of Object.entries({ offset, size })) {
    if (value < 0)
      throw new RefusedError(`Value '${value}' is out of range for parameter '${name}'`);
  }
  if (offset > childSize) {
    throw new RefusedError(
      `Offset (${offset}) cannot be greater than size of the containing file (${childSize})`,
    );
  }
  if (size === undefined) return;
  if (size > childSize - offset) {
    throw new RefusedError(
      `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the ` +
        ` actual size of the containing file (${childSize})`,
    );
  }
  if (size % 512 !== 0) throw new RefusedError('Specified size is not multiple of 512');
}

async function openMemory(name: string, options: MemoryOptions): Promise<BlockNode> {
  const { size } = options;
  return new MemoryNode(name, { size, readOnly: options['read-only'] ?? false });
}

async function openNbd(
  name: string,
  options: NbdOptions,
  context: OpenContext,
): Promise<BlockNode> {
  const { 'tls-creds': credentials } = options;
  if (credentials !== undefined) {
    throw new RefusedError(`No TLS credentials with id '${credentials}'`);
  }
  if (options['tls-hostname'] !== undefined) {
    throw new RefusedError('tls-hostname needs tls-creds: there is no certificate to compare');
  }
  return NbdNode.open({
    name,
    address: fromTextAddress(options.server),
    exportName: options.export ?? '',
    statusContext: options['x-dirty-bitmap'],
    readOnly: options['read-only'] ?? false,
    autoReadOnly: options['auto-read-only'] ?? false,
    reconnectDelaySeconds: options['reconnect-delay'] ?? 0,
    openTimeoutSeconds: options['open-timeout'] ?? 0,
    syscalls: context.syscalls,
    hotSockets: context.hotSockets,
    clock: context.clock,
    log: context.log,
    signal: context.signal,
  });
}
