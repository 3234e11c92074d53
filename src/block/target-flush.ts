import type { Unflushed } from '../bitmap/unflushed.ts';
import { BlockError } from '../util/errors.ts';
import { type Generation, InFlight } from '../util/in-flight.ts';
import type { NodeUse } from './graph.ts';

/**
 * The flushes of a mirror's target. One at a time: a flush answers for all that was written before
 * it, so it must not succeed while an earlier one, which carries those writes, may still fail.
 *
 * When one fails nobody knows which of the answered writes are on the target's disk: the kernel of
 * a server drops what it could not write, and tells of it once. Whoever asks next may be told, so a
 * flush has gone well only when the writes that were to be durable by themselves, and were on their
 * way meanwhile, have ended.
 */
export class TargetFlush {
  readonly #target: NodeUse;
  readonly #unflushed: Unflushed;
  readonly #onFailed: () => void;
  readonly #durable = new InFlight();
  /** Ends, well or not, with the last flush. */
  #last: Promise<void> = Promise.resolve();
  #isGivenUp = false;

  /** `onFailed`: before the flush rejects. */
  constructor(target: NodeUse, unflushed: Unflushed, onFailed: () => void) {
    this.#target = target;
    this.#unflushed = unflushed;
    this.#onFailed = onFailed;
  }

  flush(): Promise<void> {
    const flushed = this.#last.then(() => this.#once());
    this.#last = flushed.catch(() => {});
    return flushed;
  }

  /** A write begins that is to be on the target's disk when it is answered; `end` of the result. */
  beginDurable(): Generation {
    return this.#durable.begin();
  }

  /** Flushes that have not begun fail at once: the target may hang. */
  giveUp(): void {
    this.#isGivenUp = true;
  }

  async #once(): Promise<void> {
    const end = this.#unflushed.beginFlush();
    try {
      if (this.#isGivenUp) throw new BlockError('ECANCELED', 'The mirror was cancelled');
      await this.#target.node.flush();
      await this.#durable.settled();
      end(true);
    } catch (error) {
      end(false);
      this.#onFailed();
      throw error;
    }
  }
}
