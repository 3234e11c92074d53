import type { Qmp } from '../../protocol/qmp/schema.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { assertConsistent, assertNotBusy } from '../bitmap/usable.ts';
import type { BlockGraph } from '../block/graph.ts';
import type { BlockNode } from '../block/node.ts';
import { RefusedError } from '../util/errors.ts';

/** Which bitmaps an export may offer as `qemu:dirty-bitmap:NAME`. */
export type WantedBitmap = Qmp<'BlockDirtyBitmapOrStr'>;

interface Offer {
  readonly node: BlockNode;
  readonly writable: boolean;
}

/** Throws `RefusedError` in QEMU's words when there is no such bitmap or it cannot be shown. */
export function exportableBitmap(
  graph: BlockGraph,
  wanted: WantedBitmap,
  offer: Offer,
): DirtyBitmap {
  const bitmap = typeof wanted === 'string' ? findBelow(offer, wanted) : findOn(graph, wanted);
  check(bitmap, offer.node);
  return bitmap;
}

/**
 * A name alone is looked for on the node and below it. Where somebody may write to the node that
 * has it, a read-only export would show something that moves. (Who names another node, whose disk
 * is not shown, knows what he wants.)
 */
function findBelow({ node: exported, writable }: Offer, name: string): DirtyBitmap {
  for (let node: BlockNode | undefined = exported; node !== undefined; node = node.child) {
    // Below a window on a larger disk bitmaps count from another place.
    if (node.size !== exported.size) break;
    const bitmap = node.findBitmap(name);
    if (bitmap === undefined) continue;
    if (writable || node.readOnly || !bitmap.enabled) return bitmap;
    throw new RefusedError(`Enabled bitmap '${name}' incompatible with readonly export`);
  }
  throw new RefusedError(`Bitmap '${name}' is not found`);
}

function findOn(graph: BlockGraph, wanted: { node: string; name: string }): DirtyBitmap {
  const node = graph.find(wanted.node);
  if (node === undefined) throw new RefusedError(`Node '${wanted.node}' not found`);
  // One that is being resized has bitmaps of the old size still.
  graph.assertNotBlocked(node, { writable: false });
  const bitmap = node.findBitmap(wanted.name);
  if (bitmap === undefined) throw new RefusedError(`Dirty bitmap '${wanted.name}' not found`);
  return bitmap;
}

function check(bitmap: DirtyBitmap, node: BlockNode): void {
  assertNotBusy(bitmap);
  assertConsistent(bitmap);
  if (bitmap.size === node.size) return;
  const { name, size } = bitmap;
  throw new RefusedError(
    `Bitmap '${name}' is of a disk of ${size} bytes, but '${node.name}' has ${node.size}`,
  );
}
