import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { DirtyMap } from '../bitmap/dirty-map.ts';
import {
  assertChangeable,
  assertConsistent,
  assertNotBusy,
  fitsGranules,
} from '../bitmap/usable.ts';
import { chainOf, sharedNode } from '../block/chain.ts';
import type { BlockGraph } from '../block/graph.ts';
import { type CopyMode, MirrorTop } from '../block/mirror-top.ts';
import type { BlockNode } from '../block/node.ts';
import { isWritten, writes } from '../block/reopen-node.ts';
import { RefusedError } from '../util/errors.ts';
import {
  COPY_IN_FLIGHT_BYTES_MAX,
  COPY_IN_FLIGHT_BYTES_MIN,
  GRANULARITY_DEFAULT,
  GRANULARITY_MIN,
  MIRROR_GRANULARITY_MAX,
  TARGET_CLUSTER_BYTES_MAX,
} from '../util/limits.ts';
import { BitmapPitfalls } from './bitmap-pitfalls.ts';
import type { OnError } from './error-policy.ts';
import { MirrorJob } from './mirror-job.ts';
import type { SyncMode } from './mirror-scan.ts';
import type { JobRegistry } from './registry.ts';

/** Arguments of blockdev-mirror and drive-mirror, the nodes looked up. Bytes, bytes per second. */
export interface MirrorOptions {
  id: string;
  source: BlockNode;
  target: BlockNode;
  /** Name of the node whose place the target takes at the end: the source, or nothing else. */
  replaces?: string | undefined;
  sync: SyncMode | 'top' | 'incremental' | 'bitmap';
  /** Name of the caller's working bitmap on the source. */
  bitmap?: string | undefined;
  copyMode?: CopyMode | undefined;
  granularity?: number | undefined;
  bufSize?: number | undefined;
  speed?: number | undefined;
  onSourceError?: OnError | undefined;
  onTargetError?: OnError | undefined;
  filterNodeName?: string | undefined;
  autoFinalize?: boolean | undefined;
  autoDismiss?: boolean | undefined;
  targetIsZero?: boolean | undefined;
  /** Zeroes may give storage of the target back (true unless said otherwise). */
  unmap?: boolean | undefined;
  /** Clusters of the image behind the target: whatever is written there is whole ones. */
  targetClusterSize?: number | undefined;
}

const BUSY_REASON = 'block device is in use by block job: mirror';

/**
 * Checks everything that can be checked (in QEMU's order and words), then puts the filter in place
 * and starts the job: S:created and S:running are told before this returns. A refusal changes
 * nothing.
 */
export function startMirror(
  registry: JobRegistry,
  graph: BlockGraph,
  options: MirrorOptions,
): MirrorJob {
  const { source, target } = options;
  const granularity = checkGranularity(options.granularity);
  const clusterBytes = checkClusterSize(options.targetClusterSize);
  graph.assertNotBlocked(source, { writable: false });
  graph.assertNotBlocked(target, { writable: true });
  graph.assertSeen(target);
  const callersBitmap = checkBitmap(options);
  checkReplaces(graph, options);
  const bufSize = options.bufSize ?? 0;
  // Nothing here has a backing file: its top is all of it, and holes are zeroes to send. (A raw
  // disk counts as allocated everywhere in QEMU.)
  const sync = options.sync === 'top' ? 'full' : options.sync;
  if (sync === 'incremental' || sync === 'bitmap') {
    throw new RefusedError(`Sync mode '${sync}' not supported`);
  }
  if (bufSize < 0) throw new RefusedError("Invalid parameter 'buf-size'");
  if (sharedNode(source, target) !== undefined) {
    throw new RefusedError("Can't mirror node into itself");
  }
  const implicit = options.filterNodeName === undefined;
  const filterName = options.filterNodeName ?? graph.generateName();
  if (!implicit) graph.assertNameFree(filterName);
  registry.assertAddable(options.id);
  if ((options.speed ?? 0) < 0) {
    throw new RefusedError("Parameter 'speed' expects a non-negative value");
  }
  if (target.readOnly) throw new RefusedError('Block node is read-only');
  checkNoMirror(target);
  checkNoOtherWriter(graph, target);
  checkAllPass(graph, source);
  checkStays(graph, source);

  if (callersBitmap === undefined && !fitsGranules(source.size, granularity)) {
    throw new RefusedError(
      `Granularity ${granularity} is too small for node '${source.name}' of ${source.size} bytes`,
    );
  }
  const bitmap = callersBitmap ?? new DirtyBitmap({ size: source.size, granularity });
  const job = new MirrorJob(registry, options, {
    sync,
    copyMode: options.copyMode ?? 'background',
    onSourceError: options.onSourceError ?? 'report',
    onTargetError: options.onTargetError ?? 'report',
    targetIsZero: options.targetIsZero ?? false,
    // What makes diff images: less than everything, or whole clusters.
    trustsZeroes: options.sync === 'full' && callersBitmap === undefined && clusterBytes === 1,
    window: copyWindow(bufSize, Math.max(bitmap.granularity, clusterBytes)),
  });
  registry.add(job);

  // Nothing is refused from here on: the filter, the bitmap and the job appear together.
  if (callersBitmap === undefined) source.addBitmap(bitmap);
  bitmap.busy = true;
  const sourceUse = graph.useForFilter(source, filterName);
  const targetUse = graph.use(target, { kind: 'job', name: options.id }, { writable: true });
  const top = new MirrorTop({
    name: filterName,
    implicit,
    source: sourceUse,
    target: targetUse,
    dirty: new DirtyMap(bitmap, clusterBytes),
    unmap: options.unmap ?? true,
    listener: job,
  });
  graph.insertFilter(top, sourceUse, BUSY_REASON);
  const unblock = graph.block(target, BUSY_REASON, 'writers');
  const log = registry.log.child({ job: options.id });
  const pitfalls = new BitmapPitfalls({ bitmap, clusterBytes, target, log });
  job.attach({
    graph,
    source,
    sourceUse,
    target: targetUse,
    targetName: target.name,
    top,
    bitmap,
    pitfalls,
    unblock,
  });
  job.start();
  void pitfalls.look();
  return job;
}

function checkGranularity(granularity = 0): number {
  if (granularity === 0) return GRANULARITY_DEFAULT;
  if (granularity < GRANULARITY_MIN || granularity > MIRROR_GRANULARITY_MAX) {
    throw new RefusedError("Parameter 'granularity' expects a value in range [512B, 64MB]");
  }
  if (!Number.isInteger(Math.log2(granularity))) {
    throw new RefusedError("Parameter 'granularity' expects a power of 2");
  }
  return granularity;
}

function checkClusterSize(clusterBytes: number | undefined): number {
  if (clusterBytes === undefined) return 1;
  if (clusterBytes < GRANULARITY_MIN || clusterBytes > TARGET_CLUSTER_BYTES_MAX) {
    throw new RefusedError(
      "Parameter 'x-target-cluster-size' expects a value in range [512B, 2MB]",
    );
  }
  if (!Number.isInteger(Math.log2(clusterBytes))) {
    throw new RefusedError("Parameter 'x-target-cluster-size' expects a power of 2");
  }
  return clusterBytes;
}

/** A target takes no second writer: what somebody else writes there the mirror would never see. */
function checkNoOtherWriter(graph: BlockGraph, target: BlockNode): void {
  let above: BlockNode | undefined;
  for (const node of chainOf(target)) {
    const harmless = above === undefined ? [] : [above, ...idleParents(graph, node)];
    const writer = graph.usersOf(node).find((use) => {
      const parent = graph.parentBy(use);
      return use.writable && (parent === undefined || !harmless.includes(parent));
    });
    if (writer !== undefined) {
      const { kind, name } = writer.user;
      throw new RefusedError(
        `Permission conflict on node '${node.name}': it is written to by ${kind} ${name}, ` +
          'and a mirror must be the only one who writes to its target',
      );
    }
    above = node;
  }
}

/** What is written to a mirror's filter goes to its target as well, which may lead back to here. */
function checkNoMirror(target: BlockNode): void {
  if (!chainOf(target).some((node) => node instanceof MirrorTop)) return;
  throw new RefusedError(`Node '${target.name}' is busy: ${BUSY_REASON}`);
}

/**
 * What somebody writes to a node below the source the mirror would never see. Who comes later is
 * kept away by the graph.
 */
function checkAllPass(graph: BlockGraph, source: BlockNode): void {
  let above = source;
  for (const node of chainOf(source).slice(1)) {
    const writer = graph.usersOf(node).find((use) => {
      const parent = graph.parentBy(use);
      if (parent === above || !writes(graph, use)) return false;
      return sharedNode(parent ?? node, source) !== undefined;
    });
    if (writer !== undefined) {
      const { kind, name } = writer.user;
      throw new RefusedError(
        `Permission conflict on node '${node.name}': it is written to by ${kind} ${name}, ` +
          `and a mirror of node '${source.name}' would not see that`,
      );
    }
    above = node;
  }
}

/** Who writes to one of them later is refused then: it is below the target. */
function idleParents(graph: BlockGraph, node: BlockNode): readonly BlockNode[] {
  return graph
    .parentsOf(node)
    .filter((parent) => !(parent instanceof MirrorTop) && !isWritten(graph, parent));
}

/** Clients of a node below a mirror that was completed write elsewhere in a moment. */
function checkStays(graph: BlockGraph, node: BlockNode): void {
  for (const parent of graph.parentsOf(node)) {
    if (parent instanceof MirrorTop && parent.isLeaving) {
      throw new RefusedError(
        `Cannot mirror node '${node.name}': the mirror with filter '${parent.name}' is being ` +
          'completed, and moves the clients to its target',
      );
    }
    checkStays(graph, parent);
  }
}

/**
 * The working bitmap's checks, in the order and words of the series that QEMU has not merged
 * ("mirror: allow specifying working bitmap", qemu-devel, May 2024).
 */
function checkBitmap(options: MirrorOptions): DirtyBitmap | undefined {
  const { bitmap: name, source, sync, granularity } = options;
  if (name === undefined) return undefined;
  if (sync !== 'full') throw new RefusedError(`Sync mode '${sync}' not supported with bitmap.`);
  if (granularity !== undefined && granularity !== 0) {
    throw new RefusedError('Granularity and bitmap cannot both be set');
  }
  const bitmap = source.findBitmap(name);
  if (bitmap === undefined) throw new RefusedError(`Dirty bitmap '${name}' not found`);
  assertNotBusy(bitmap);
  assertChangeable(bitmap);
  assertConsistent(bitmap);
  if (!bitmap.enabled) throw new RefusedError(`Bitmap '${name}' is not enabled`);
  return bitmap;
}

/** Only the source itself can be replaced without a change of visible data. */
function checkReplaces(graph: BlockGraph, { source, replaces }: MirrorOptions): void {
  if (replaces === undefined || replaces === source.name) return;
  const node = graph.find(replaces);
  if (node === undefined) {
    throw new RefusedError(`Failed to find node with node-name='${replaces}'`);
  }
  graph.assertNotBlocked(node, { writable: true });
  throw new RefusedError(
    `Cannot replace '${replaces}' by a node mirrored from '${source.name}', because it cannot be ` +
      'guaranteed that doing so would not lead to an abrupt change of visible data',
  );
}

/** Who names a size gets it, rounded up to granules; else the window finds its own. */
function copyWindow(bufSize: number, granularity: number) {
  if (bufSize === 0) {
    const bytesMin = Math.max(COPY_IN_FLIGHT_BYTES_MIN, granularity);
    return { bytesMin, bytesMax: Math.max(COPY_IN_FLIGHT_BYTES_MAX, granularity) };
  }
  const bytes = Math.ceil(bufSize / granularity) * granularity;
  return { bytesMin: bytes, bytesMax: bytes };
}
