import type { DirtyMap } from '../bitmap/dirty-map.ts';
import { type BlockNode, type DiskRange, pieces } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';

/**
 * What a new mirror must copy. The filter marks client writes already, so a range that changes
 * after the scan has passed it is dirty anyway: the scan only ever adds bits.
 */
export type SyncMode = 'full' | 'top' | 'none';

const EXTENTS_MAX = 1024;
/** Questions to a target on their way: a server far away tells of 2 GiB with each answer. */
const QUESTIONS_MAX = 16;

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
    // As far as the first answer reaches, the others will.
    let stride = target.size;
    for (let at = 0; at < target.size && (await pausePoint()); ) {
      const ranges = [...pieces(at, Math.min(QUESTIONS_MAX * stride, target.size - at), stride)];
      const answers = await Promise.all(ranges.map((range) => zeroBytes(target, range)));
      for (const [index, zeroes] of answers.entries()) {
        if (zeroes === 0) return false;
        at += zeroes;
        if (zeroes === ranges[index]!.length) continue;
        stride = ranges.length === 1 ? zeroes : target.size;
        break;
      }
    }
    return true;
  } catch (error) {
    if (error instanceof BlockError) return false;
    throw error;
  }
}

/** How much of the range is said to be zero, from its beginning on. */
async function zeroBytes(target: BlockNode, { offset, length }: DiskRange): Promise<number> {
  const extents = await target.blockStatus(offset, length, EXTENTS_MAX);
  const data = extents.find(({ zero }) => !zero);
  const last = extents.at(-1)!;
  return (data?.offset ?? last.offset + last.length) - offset;
}
