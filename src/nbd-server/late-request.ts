import type { RequestHeader } from '../../protocol/nbd/transmission.ts';
import type { Watcher } from '../util/pending.ts';

/** Sends the reply, unless the request has failed; gives back in either case what it used. */
export type Answer = (request: RequestHeader, failed: boolean) => void;

/** A request that was not done at once: what is still to be known of it, until it has ended. */
export class LateRequest implements RequestHeader, Watcher {
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  offset: number;
  length: number;
  readonly answer: Answer;
  readonly #onEnded: (request: LateRequest, failure: unknown) => void;

  constructor(
    request: RequestHeader,
    answer: Answer,
    onEnded: (request: LateRequest, failure: unknown) => void,
  ) {
    this.flags = request.flags;
    this.type = request.type;
    this.cookieHigh = request.cookieHigh;
    this.cookieLow = request.cookieLow;
    this.offset = request.offset;
    this.length = request.length;
    this.answer = answer;
    this.#onEnded = onEnded;
  }

  onEnd(failure: unknown): void {
    this.#onEnded(this, failure);
  }
}
