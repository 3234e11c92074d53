import type { DirtyMap } from '../bitmap/dirty-map.ts';
import type { BlockNode } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';

/**
 * What a new mirror must copy. The filter marks client writes already, so a range that changes
 * after the scan has passed it is dirty anyway: the scan only ever adds bits.
 */
export type SyncMode = 'full' | 'top' | 'none';

const EXTENTS_MAX = 1024;

/**
 * Marks what `sync` asks for. A full mirror to a target that is all zero needs only what the source
 * has as data; `top` needs only what is allocated in the source itself. `pausePoint` is called
 * between the steps and tells whether to go on.
 */
export async function markInitial(options: {
  sync: SyncMode;
  source: BlockNode;
  target: BlockNode;
  /** The caller's promise; otherwise the target is asked. */
  targetIsZero: boolean;
  dirty: DirtyMap;
  pausePoint: () => Promise<boolean>;
}): Promise<void> {
  const { sync, source, target, dirty, pausePoint } = options;
  if (sync === 'none' || source.size === 0) return;
  const isClean = sync === 'top' || options.targetIsZero || (await isAllZero(target, pausePoint));
  if (!isClean) {
    // Through the map: a write that has just come has told parts of its granule apart.
    dirty.mark(0, source.size);
    return;
  }
  for (let at = 0; at < source.size && (await pausePoint()); ) {
    for (const extent of await source.blockStatus(at, source.size - at, EXTENTS_MAX)) {
      const skip = sync === 'top' ? extent.hole : extent.zero;
      if (!skip) dirty.mark(extent.offset, extent.length);
      at = extent.offset + extent.length;
    }
  }
}

/**
 * By block status alone: may say no for a target that is all zero, or that fails to answer, never
 * yes for one that is not.
 */
async function isAllZero(target: BlockNode, pausePoint: () => Promise<boolean>): Promise<boolean> {
  try {
    for (let at = 0; at < target.size && (await pausePoint()); ) {
      for (const extent of await target.blockStatus(at, target.size - at, EXTENTS_MAX)) {
        if (!extent.zero) return false;
        at = extent.offset + extent.length;
      }
    }
    return true;
  } catch (error) {
    if (error instanceof BlockError) return false;
    throw error;
  }
}
