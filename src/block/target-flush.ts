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
  #onGivenUp = () => {};

  /** `onFailed`: the target may have lost what it answered; before the flush rejects. */
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

  /**
   * The mirror is over: nobody waits for its target any more, which may hang. Fails what waits.
   */
  giveUp(): void {
    this.#isGivenUp = true;
    this.#onGivenUp();
  }

  async #once(): Promise<void> {
    const end = this.#unflushed.beginFlush();
    try {
      await Promise.race([this.#givenUp(), this.#flushed()]);
      end(true);
    } catch (error) {
      end(false);
      this.#onFailed();
      throw error;
    }
  }

  async #flushed(): Promise<void> {
    if (this.#isGivenUp) return;
    await this.#target.node.flush();
    await this.#durable.settled();
  }

  /** Rejects when it is. */
  #givenUp(): Promise<never> {
    return new Promise((_, reject) => {
      const giveUp = () => reject(new BlockError('ECANCELED', 'The mirror is over'));
      if (this.#isGivenUp) giveUp();
      else this.#onGivenUp = giveUp;
    });
  }
}
