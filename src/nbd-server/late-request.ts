import type { RequestHeader } from '../../protocol/nbd/transmission.ts';
import type { Watcher } from '../util/pending.ts';

/** Sends the reply, unless the request has failed; gives back in either case what it used. */
export type Answer = (request: RequestHeader, failed: boolean) => void;

/** A request that was not done at once: what is still to be known of it, until it has ended. */
export class LateRequest implements Watcher {
  readonly header: RequestHeader;
  readonly answer: Answer;
  readonly #onEnded: (request: LateRequest, failure: unknown) => void;

  /** `header` may be changed as soon as this returns. */
  constructor(
    header: RequestHeader,
    answer: Answer,
    onEnded: (request: LateRequest, failure: unknown) => void,
  ) {
    this.header = { ...header };
    this.answer = answer;
    this.#onEnded = onEnded;
  }

  onEnd(failure: unknown): void {
    this.#onEnded(this, failure);
  }
}
