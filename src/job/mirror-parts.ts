import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { BlockGraph, NodeUse } from '../block/graph.ts';
import type { CopyMode, MirrorTop } from '../block/mirror-top.ts';
import type { BlockNode } from '../block/node.ts';
import type { BitmapPitfalls } from './bitmap-pitfalls.ts';
import type { OnError } from './error-policy.ts';
import type { SyncMode } from './mirror-scan.ts';

/** What stands ready when a mirror begins, and is given back at its end. */
export interface MirrorParts {
  graph: BlockGraph;
  /** The node the filter was put on; the bitmap lives there, whatever happens to the graph. */
  source: BlockNode;
  sourceUse: NodeUse;
  target: NodeUse;
  /** As it was named; meanwhile the use may be of a filter on it. */
  targetName: string;
  top: MirrorTop;
  bitmap: DirtyBitmap;
  pitfalls: BitmapPitfalls;
  /** Lifts the blockers on source and target. */
  unblock: () => void;
}

export interface MirrorSettings {
  sync: SyncMode;
  copyMode: CopyMode;
  onSourceError: OnError;
  onTargetError: OnError;
  targetIsZero: boolean;
  /** What reads as zeroes in the target is zero; a diff image may show its base later. */
  trustsZeroes: boolean;
  /** Bytes of background copies in flight: where the window begins, and at most. */
  window: { readonly bytesMin: number; readonly bytesMax: number };
}
