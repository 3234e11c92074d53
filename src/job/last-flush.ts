import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { chainOf } from '../block/chain.ts';
import type { BlockGraph, NodeUse } from '../block/graph.ts';
import { MirrorTop } from '../block/mirror-top.ts';
import type { BlockNode } from '../block/node.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';

interface LastFlushParts {
  readonly bitmap: DirtyBitmap;
  readonly top: MirrorTop;
  readonly target: NodeUse;
}

/** A healthy target answers within it; of one that hangs nobody knows what it will keep. */
const LAST_ANSWER_MS = 1000;

/**
 * The last that a job that ends badly asks of its target. What it answered and does not flush now
 * nobody will have flushed, so it may be lost with the target's host: that is dirty again, for
 * whoever goes on with the bitmap. (QEMU forgets it.) Takes a second at most; then no other flush
 * waits for the target either.
 */
export async function lastFlush(
  { bitmap, top, target }: LastFlushParts,
  clock: Clock,
): Promise<void> {
  // One of the job's own ends with it.
  const isKept = bitmap.name !== undefined;
  if (isKept && target.node.unreachable === undefined) {
    let timer: Timer | undefined;
    const timeUp = new Promise<void>((resolve) => {
      timer = clock.after(LAST_ANSWER_MS, resolve);
    });
    await Promise.race([flushIfPossible(top), timeUp]);
    timer?.cancel();
  }
  top.giveUpFlushes();
  if (isKept) top.markUnflushed();
}

async function flushIfPossible(top: MirrorTop): Promise<void> {
  try {
    await top.flushTarget();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
}

/**
 * Resolves when no client write is on its way through the filter, which has left the graph. What a
 * target that hangs has not answered in a second fails, so that clients go on, and is dirty; but
 * not while others use the target, whose requests would fail as well: those wait for it, or for the
 * operator.
 */
export async function lastWrites(
  { graph, top, target }: { graph: BlockGraph; top: MirrorTop; target: NodeUse },
  clock: Clock,
): Promise<void> {
  const look = () => {
    if (!hasUsers(graph, target.node)) target.node.cancelInFlight();
    // Somebody who uses it may leave later.
    timer = clock.after(LAST_ANSWER_MS, look);
  };
  let timer = clock.after(LAST_ANSWER_MS, look);
  await top.idle();
  timer.cancel();
}

/** Whether anybody but its own chain uses the node, or what it stands on. */
function hasUsers(graph: BlockGraph, node: BlockNode): boolean {
  return chainOf(node).some(
    (one, depth) => one instanceof MirrorTop || graph.usersOf(one).length > Math.min(depth, 1),
  );
}
