import type { DirtyMap } from '../bitmap/dirty-map.ts';
import type { BlockNode, DiskRange, Extent } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';
import { MiB } from '../util/limits.ts';

/**
 * What a new mirror must copy. The filter marks client writes already, so a range that changes
 * after the scan has passed it is dirty anyway: the scan only ever adds bits.
 */
export type SyncMode = 'full' | 'none';

const EXTENTS_MAX = 1024;
/** Questions to a target on their way: a server far away tells of 2 GiB with each answer. */
const QUESTIONS_MAX = 16;
/** An answer that tells of less, where more was asked, costs more time than it saves. */
const ANSWER_BYTES_MIN = 16 * MiB;

/**
 * Marks what `sync` asks for. A full mirror needs only what the source or the target has as data:
 * where both read as zeroes there is nothing to do. `pausePoint` is called between the steps and
 * tells whether to go on.
 */
export async function markInitial(options: {
  sync: SyncMode;
  source: BlockNode;
  target: BlockNode;
  /** The caller's promise; otherwise the target is asked. */
  targetIsZero: boolean;
  /** What reads as zeroes in a target that has data elsewhere is zero, and stays so. */
  trustsZeroes: boolean;
  flushTarget: () => Promise<void>;
  dirty: DirtyMap;
  pausePoint: () => Promise<boolean>;
}): Promise<void> {
  const { sync, source, dirty, pausePoint } = options;
  if (sync === 'none' || source.size === 0) return;
  if (!options.targetIsZero && !(await markTargetData(options))) {
    // Through the map: a write that has just come has told parts of its granule apart.
    dirty.mark(0, source.size);
    return;
  }
  for (let at = 0; at < source.size && (await pausePoint()); ) {
    for (const extent of await source.blockStatus(at, source.size - at, EXTENTS_MAX)) {
      if (!extent.zero) dirty.mark(extent.offset, extent.length);
      at = extent.offset + extent.length;
    }
  }
}

/**
 * By block status alone: what is not told of is taken for data, and asked about no further when the
 * target fails to answer, or tells of so little at a time that copying is as good. Returns whether
 * any of it is zero.
 */
async function markTargetData(options: {
  target: BlockNode;
  trustsZeroes: boolean;
  flushTarget: () => Promise<void>;
  dirty: DirtyMap;
  pausePoint: () => Promise<boolean>;
}): Promise<boolean> {
  const { target, trustsZeroes, flushTarget, dirty, pausePoint } = options;
  // Zeroes that it may lose with its host, and that nobody would write again, are none.
  if (!(await succeeds(flushTarget))) return false;
  const mark = ({ offset, length }: DiskRange) => dirty.mark(offset, length);
  const untold: DiskRange[] = [{ offset: 0, length: target.size }];
  // About as far as one answer reaches, the others will.
  let stride = target.size;
  let zeroBytes = 0;
  while (untold.length > 0 && (await pausePoint())) {
    const asked = takeRanges(untold, stride);
    const answers = await askAll(target, asked);
    let [askedBytes, toldBytes, longest] = [0, 0, 0];
    for (const [index, range] of asked.entries()) {
      const extents = answers[index]!;
      for (const extent of extents) {
        if (extent.zero) zeroBytes += extent.length;
        else if (trustsZeroes) mark(extent);
        else return false;
      }
      const told = extents.reduce((bytes, { length }) => bytes + length, 0);
      if (told < range.length) {
        untold.push({ offset: range.offset + told, length: range.length - told });
      }
      askedBytes += range.length;
      toldBytes += told;
      longest = Math.max(longest, told);
    }
    if (toldBytes < Math.min(askedBytes, asked.length * ANSWER_BYTES_MIN)) break;
    stride = 2 * longest;
  }
  untold.forEach(mark);
  return zeroBytes > 0;
}

async function succeeds(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof BlockError) return false;
    throw error;
  }
}

/** No extents where the target cannot tell. */
function askAll(
  target: BlockNode,
  ranges: readonly DiskRange[],
): Promise<readonly (readonly Extent[])[]> {
  return Promise.all(
    ranges.map(async ({ offset, length }) => {
      try {
        return await target.blockStatus(offset, length, EXTENTS_MAX);
      } catch (error) {
        if (error instanceof BlockError) return [];
        throw error;
      }
    }),
  );
}

/** The next questions, of at most `lengthMax` bytes each; what is left of `ranges` stays there. */
function takeRanges(ranges: DiskRange[], lengthMax: number): DiskRange[] {
  const taken: DiskRange[] = [];
  while (taken.length < QUESTIONS_MAX) {
    const range = ranges.pop();
    if (range === undefined) break;
    const length = Math.min(range.length, lengthMax);
    taken.push({ offset: range.offset, length });
    if (length < range.length) {
      ranges.push({ offset: range.offset + length, length: range.length - length });
    }
  }
  return taken;
}
