import type { BITMAP_COMMANDS } from '../../../protocol/qmp/schema/bitmaps.ts';
import type { Qmp } from '../../../protocol/qmp/schema.ts';
import { DirtyBitmap } from '../../bitmap/dirty-bitmap.ts';
import {
  assertChangeable,
  assertConsistent,
  assertNotBusy,
  fitsGranules,
} from '../../bitmap/usable.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { BlockNode } from '../../block/node.ts';
import { RefusedError } from '../../util/errors.ts';
import { BITMAP_NAME_BYTES_MAX, GRANULARITY_DEFAULT, GRANULARITY_MIN } from '../../util/limits.ts';
import type { Handlers } from '../handlers.ts';

/** Dirty bitmaps: QEMU's checks in QEMU's order. */
export function bitmapCommands(graph: BlockGraph): Handlers<keyof typeof BITMAP_COMMANDS> {
  const usable = (given: Qmp<'BlockDirtyBitmap'>, ...checks: Check[]) => {
    const found = findBitmap(graph, given.node, given.name);
    for (const check of checks) check(found.bitmap);
    return found;
  };
  return {
    'block-dirty-bitmap-add': (given) => {
      addBitmap(graph, given);
    },
    'block-dirty-bitmap-remove': (given) => {
      const { node, bitmap } = findRemovable(graph, given);
      node.removeBitmap(bitmap);
    },
    'block-dirty-bitmap-clear': (given) => {
      const { node, bitmap } = usable(given, assertNotBusy, assertChangeable, assertConsistent);
      node.clearBitmap(bitmap);
    },
    'block-dirty-bitmap-enable': (given) => {
      const { node, bitmap } = usable(given, assertNotBusy, assertConsistent);
      node.setRecording(bitmap, true);
    },
    'block-dirty-bitmap-disable': (given) => {
      const { node, bitmap } = usable(given, assertNotBusy, assertConsistent);
      node.setRecording(bitmap, false);
    },
    'block-dirty-bitmap-merge': ({ node, target, bitmaps }) => {
      mergeBitmaps(graph, { node, name: target }, bitmaps);
    },
    'x-debug-block-dirty-bitmap-sha256': (given) => ({
      sha256: usable(given).bitmap.sha256(),
    }),
  };
}

type Check = (bitmap: DirtyBitmap) => void;

/** An inconsistent bitmap may go: there is nothing else to do with it. */
export function findRemovable(
  graph: BlockGraph,
  given: Qmp<'BlockDirtyBitmap'>,
): { readonly node: BlockNode; readonly bitmap: DirtyBitmap } {
  const found = findBitmap(graph, given.node, given.name);
  assertNotBusy(found.bitmap);
  assertChangeable(found.bitmap);
  return found;
}

function addBitmap(graph: BlockGraph, given: Qmp<'BlockDirtyBitmapAdd'>): void {
  const { name, granularity = GRANULARITY_DEFAULT } = given;
  if (name === '') throw new RefusedError('Bitmap name cannot be empty');
  if (name.includes('\0')) throw new RefusedError('Bitmap name contains NUL');
  const node = graph.find(given.node);
  if (node === undefined) {
    throw new RefusedError(`Cannot find device='${given.node}' nor node-name='${given.node}'`);
  }
  if (granularity < GRANULARITY_MIN || !Number.isInteger(Math.log2(granularity))) {
    throw new RefusedError('Granularity must be power of 2 and at least 512');
  }
  if (given.persistent) {
    throw new RefusedError(
      `Can't store persistent bitmaps to ${given.node}: Operation not supported`,
    );
  }
  if (node.findBitmap(name) !== undefined) throw new RefusedError(`Bitmap already exists: ${name}`);
  if (Buffer.byteLength(name) > BITMAP_NAME_BYTES_MAX) {
    throw new RefusedError(`Bitmap name too long: ${name}`);
  }
  if (!fitsGranules(node.size, granularity)) {
    throw new RefusedError(
      `Granularity ${granularity} is too small for node '${given.node}' of ${node.size} bytes`,
    );
  }
  const enabled = !given.disabled;
  node.addBitmap(new DirtyBitmap({ name, size: node.size, granularity, enabled }));
}

/** All of the sources or nothing: everything is checked before the target changes. */
function mergeBitmaps(
  graph: BlockGraph,
  given: { readonly node: string; readonly name: string },
  names: readonly Qmp<'BlockDirtyBitmapOrStr'>[],
): void {
  const target = findBitmap(graph, given.node, given.name).bitmap;
  const sources = names.map((item) =>
    typeof item === 'string'
      ? findBitmap(graph, given.node, item).bitmap
      : findBitmap(graph, item.node, item.name).bitmap,
  );
  for (const source of sources) {
    assertNotBusy(target);
    assertChangeable(target);
    assertConsistent(target);
    assertNotBusy(source);
    assertConsistent(source);
    if (target.size === source.size) continue;
    throw new RefusedError(
      `Bitmaps are of different sizes (destination size is ${target.size}, ` +
        `source size is ${source.size}) and can't be merged`,
    );
  }
  for (const source of sources) if (source !== target) target.merge(source);
}

function findBitmap(
  graph: BlockGraph,
  nodeName: string,
  name: string,
): { node: BlockNode; bitmap: DirtyBitmap } {
  const node = graph.find(nodeName);
  if (node === undefined) throw new RefusedError(`Node '${nodeName}' not found`);
  const bitmap = node.findBitmap(name);
  if (bitmap === undefined) throw new RefusedError(`Dirty bitmap '${name}' not found`);
  return { node, bitmap };
}
