import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { chainOf } from '../block/chain.ts';
import type { BlockGraph, NodeUse } from '../block/graph.ts';
import { MirrorTop } from '../block/mirror-top.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';
import type { Copier } from './copier.ts';

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
 * Resolves when `ended` does. A job that ends badly does not wait for ever for its target: where
 * that has answered nothing to the copier for a second, what is on its way there fails, and is
 * dirty. But not while others use it, whose requests would fail as well: those wait for it, or for
 * the operator. Where he has cancelled the job (`isForced`), a target that cannot be reached is
 * given up at once, whoever else waits for it.
 */
export async function lastAnswers(
  ended: Promise<void>,
  { graph, target }: { graph: BlockGraph; target: NodeUse },
  clock: Clock,
  { isForced = false, copier }: { isForced?: boolean; copier?: Pick<Copier, 'copiedBytes'> } = {},
): Promise<void> {
  const isGivenUp = () => isForced && target.node.unreachable !== undefined;
  let copiedBytes = copier?.copiedBytes;
  const look = () => {
    const hangs = copier?.copiedBytes === copiedBytes && !hasOtherUsers(graph, target);
    if (isGivenUp() || hangs) target.node.cancelInFlight();
    copiedBytes = copier?.copiedBytes;
    // Somebody who uses it may leave later.
    timer = clock.after(LAST_ANSWER_MS, look);
  };
  if (isGivenUp()) target.node.cancelInFlight();
  let timer = clock.after(LAST_ANSWER_MS, look);
  await ended;
  timer.cancel();
}

/** Whether anybody but the use, and the node's own chain, uses the node or what it stands on. */
function hasOtherUsers(graph: BlockGraph, target: NodeUse): boolean {
  return chainOf(target.node).some((one, depth) => {
    const others = graph.usersOf(one).filter((use) => use !== target);
    return one instanceof MirrorTop || others.length > Math.min(depth, 1);
  });
}
