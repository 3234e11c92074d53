import {
  NBD_META_BASE_ALLOCATION,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
  QEMU_STATE_DIRTY,
} from '../../protocol/nbd/constants.ts';
import type { StatusExtent } from '../../protocol/nbd/transmission.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { NodeUse } from '../block/graph.ts';

/**
 * What an export can tell about its blocks with BLOCK_STATUS. Each context has a name of the form
 * `namespace:leaf` and gives 32 bits for every extent.
 */
export interface MetaContext {
  readonly name: string;
  /**
   * Extents from `offset` on: at least one, at most `extentsMax`, without gaps, not beyond the
   * range; they may stop before its end.
   */
  describe(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly StatusExtent[] | Promise<readonly StatusExtent[]>;
}

/** Depth of what an image holds itself. */
const DEPTH_TOP = 1;

/** A context that a client selected, under the number that its replies carry. */
export interface SelectedContext {
  readonly id: number;
  readonly context: MetaContext;
}

/** `base:allocation`: what is allocated and what reads as zeroes. */
export function allocationContext(use: NodeUse): MetaContext {
  return {
    name: NBD_META_BASE_ALLOCATION,
    async describe(offset, length, extentsMax) {
      const extents = await use.node.blockStatus(offset, length, extentsMax);
      return extents.map(({ length, hole, zero }) => ({
        length,
        flags: (hole ? NBD_STATE_HOLE : 0) | (zero ? NBD_STATE_ZERO : 0),
      }));
    },
  };
}

/**
 * `qemu:allocation-depth`: how far down a chain of images a range comes from. Our disks are at the
 * top of theirs, with nothing behind: also what they have as a hole is their own.
 */
export function allocationDepthContext(): MetaContext {
  return {
    name: 'qemu:allocation-depth',
    describe: (_offset, length) => [{ length, flags: DEPTH_TOP }],
  };
}

/** `qemu:dirty-bitmap:NAME`: what is marked in a bitmap. */
export function dirtyBitmapContext(bitmap: DirtyBitmap): MetaContext {
  return {
    name: `qemu:dirty-bitmap:${bitmap.name}`,
    describe(offset, length, extentsMax) {
      const extents: StatusExtent[] = [];
      for (const extent of bitmap.extents(offset, length)) {
        extents.push({ length: extent.length, flags: extent.dirty ? QEMU_STATE_DIRTY : 0 });
        if (extents.length === extentsMax) break;
      }
      return extents;
    },
  };
}

/** What the context says of the range, with equal neighbours made one. */
export async function describeBlocks(
  context: MetaContext,
  range: { offset: number; length: number },
  extentsMax: number,
): Promise<StatusExtent[]> {
  const merged: StatusExtent[] = [];
  for (const { length, flags } of await context.describe(range.offset, range.length, extentsMax)) {
    const last = merged.at(-1);
    if (last?.flags === flags) merged[merged.length - 1] = { length: last.length + length, flags };
    else merged.push({ length, flags });
  }
  return merged;
}

/**
 * Whether a query of LIST_META_CONTEXT names the context: exactly, or by a namespace alone
 * (`base:`), or by `qemu:dirty-bitmap:`. SET_META_CONTEXT takes exact names only.
 */
export function queryMatches(query: string, name: string): boolean {
  if (query === name) return true;
  return query.endsWith(':') && WILDCARDS.has(query) && name.startsWith(query);
}

const WILDCARDS = new Set(['base:', 'qemu:', 'qemu:dirty-bitmap:']);
