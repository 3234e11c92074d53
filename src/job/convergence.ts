import { GiB } from '../util/limits.ts';
import type { RestsFor } from './duty-cycle.ts';

/**
 * In background mode a busy client can dirty as fast as we copy. So that READY is reached and the
 * end always, the last stretch copies client writes synchronously: before READY only when about a
 * second is left, at the end always, since somebody has asked for it.
 *
 * Clients wait for the target then. What may take that long, a flush of all that was copied, comes
 * before: the one that READY needs is short.
 */
const CONVERGE_MS = 1000;
/** The target may be so far behind before copies ask for more of the machine than clients leave. */
const LAG_BYTES_MAX = GiB;

export class Convergence {
  /** Client writes are copied synchronously, whatever the copy mode. */
  isOn = false;
  /** The target has flushed once, while clients did not wait for it. */
  wasFlushed = false;

  /** Whether there is something left to copy, and it takes about a second. */
  isNear(dirtyBytes: number, bytesPerSecond: number): boolean {
    return dirtyBytes > 0 && (dirtyBytes / bytesPerSecond) * 1000 <= CONVERGE_MS;
  }

  /** What copies rest for beside clients. `canWait`: nobody waits for what they copy. */
  restsFor(canWait: boolean, dirtyBytes: number): RestsFor {
    if (this.isOn) return 'nothing';
    return canWait && dirtyBytes <= LAG_BYTES_MAX ? 'everything' : 'bursts';
  }
}
