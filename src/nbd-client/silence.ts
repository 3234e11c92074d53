import type { Clock, Timer } from '../util/clock.ts';
import { SERVER_SILENT_MS } from '../util/limits.ts';

/** How often it is looked whether anything was answered. */
const LOOK_MS = 1000;

/**
 * Notices a server that has requests and answers none of them: it hangs, or the way to it is cut,
 * which TCP finds out after a quarter of an hour. Nothing is done about it here: it may come back,
 * and what it has not answered cannot be taken back. A request costs a comparison and a count; the
 * clock is read only once a second, while there are requests.
 */
export class Silence {
  readonly #clock: Clock;
  readonly #pending: () => number;
  readonly #onChange: (isSilent: boolean) => void;
  #timer: Timer | undefined;
  #answers = 0;
  #answersSeen = 0;
  /** When they were seen, in milliseconds of the clock. */
  #seenAt = 0;
  #isSilent = false;

  /** `pending`: requests without an answer. `onChange`: silent for SERVER_SILENT_MS, or no more. */
  constructor(clock: Clock, pending: () => number, onChange: (isSilent: boolean) => void) {
    this.#clock = clock;
    this.#pending = pending;
    this.#onChange = onChange;
  }

  /** For how long nothing was answered; undefined while that is less than SERVER_SILENT_MS. */
  get ms(): number | undefined {
    return this.#isSilent ? this.#clock.now() - this.#seenAt : undefined;
  }

  requested(): void {
    if (this.#timer === undefined) this.#lookSoon();
  }

  answered(): void {
    this.#answers++;
    if (this.#isSilent) this.#set(false);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isSilent = false;
  }

  #lookSoon(): void {
    if (this.#timer === undefined) this.#seenAt = this.#clock.now();
    this.#timer = this.#clock.after(LOOK_MS, () => this.#look());
  }

  #look(): void {
    const now = this.#clock.now();
    if (this.#pending() === 0) {
      this.#timer = undefined;
      this.#answersSeen = this.#answers;
      return;
    }
    if (this.#answers !== this.#answersSeen) {
      this.#answersSeen = this.#answers;
      this.#seenAt = now;
    } else if (!this.#isSilent && now - this.#seenAt >= SERVER_SILENT_MS) this.#set(true);
    this.#lookSoon();
  }

  #set(isSilent: boolean): void {
    this.#isSilent = isSilent;
    this.#onChange(isSilent);
  }
}
