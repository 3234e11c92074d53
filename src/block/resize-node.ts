import { assertNotBusy, fitsGranules } from '../bitmap/usable.ts';
import { RefusedError } from '../util/errors.ts';
import type { BlockGraph } from './graph.ts';
import { MirrorTop } from './mirror-top.ts';
import type { BlockNode } from './node.ts';
import { RawNode } from './raw-node.ts';

const BLOCKED = 'block device is in use by block_resize';

/**
 * Makes a node longer or shorter, with all nodes that share its disk and all their bitmaps: what is
 * new reads as zeroes and is clean. Rejects, and changes nothing, where somebody relies on the size
 * (an export, a job) or the disk cannot.
 */
export async function resizeNode(graph: BlockGraph, node: BlockNode, size: number): Promise<void> {
  graph.assertChangeable(node);
  const relatives = relativesOf(graph, node);
  for (const relative of relatives) {
    checkFree(graph, relative, node);
    checkBitmaps(relative, size);
    if (size < node.size) checkWindow(relative, node);
  }
  const unblock = [...relatives].map((relative) => graph.block(relative, BLOCKED, 'everybody'));
  try {
    await node.settled();
    await node.resize(size);
    for (const relative of relatives) relative.fitBitmaps();
  } finally {
    for (const end of unblock) end();
  }
}

/** The node, what it stands on, and whatever else stands on any of that. */
function relativesOf(graph: BlockGraph, node: BlockNode): ReadonlySet<BlockNode> {
  const found = new Set([node]);
  // Grows while it is walked through.
  for (const one of found) {
    if (one.child !== undefined) found.add(one.child);
    for (const parent of graph.parentsOf(one)) found.add(parent);
  }
  return found;
}

function checkFree(graph: BlockGraph, relative: BlockNode, node: BlockNode): void {
  const busy = graph.isBlocked(relative) || relative instanceof MirrorTop;
  if (busy) throw new RefusedError(`Device '${node.name}' is in use`);
  const users = graph.usersOf(relative);
  if (users.length === graph.parentsOf(relative).length) return;
  const root = `an unnamed block device (uses node '${relative.name}' as 'root' child)`;
  throw new RefusedError(
    `Permission conflict on node '${relative.name}': permissions 'resize' are both required by ` +
      `${root} and unshared by ${root}.`,
  );
}

function checkBitmaps(relative: BlockNode, size: number): void {
  for (const bitmap of relative.bitmaps) {
    assertNotBusy(bitmap);
    const { name, granularity } = bitmap;
    if (fitsGranules(size, granularity)) continue;
    throw new RefusedError(
      `Granularity ${granularity} of bitmap '${name}' is too small for ${size} bytes`,
    );
  }
}

/** A window that does not begin at the start, or has a size of its own, would lose its disk. */
function checkWindow(relative: BlockNode, node: BlockNode): void {
  if (relative === node || !(relative instanceof RawNode) || relative.isWhole) return;
  throw new RefusedError(`Node '${relative.name}' is a window on the disk, which cannot shrink`);
}
