import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { NodeUse } from '../block/graph.ts';
import type { MirrorTop } from '../block/mirror-top.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { BlockError } from '../util/errors.ts';

interface LastFlushParts {
  readonly bitmap: DirtyBitmap;
  readonly top: MirrorTop;
  readonly target: NodeUse;
}

/** A healthy target is given so long to flush; of one that hangs nobody knows what it will keep. */
const LAST_FLUSH_MS = 1000;

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
      timer = clock.after(LAST_FLUSH_MS, resolve);
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
