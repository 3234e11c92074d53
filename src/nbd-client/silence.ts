import type { Traffic } from '../net/connection.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { SERVER_SILENT_MS } from '../util/limits.ts';

/** How often it is looked whether anything has moved. */
const LOOK_MS = 1000;

export interface Watched {
  /** Requests without an answer. */
  readonly pending: () => number;
  readonly traffic: () => Traffic;
}

/**
 * Notices a server that has requests and answers none of them: it hangs, or the way to it is cut,
 * which TCP finds out after a quarter of an hour. A long payload on a slow way is no silence, nor
 * is an answer that comes by and by. Nothing is done about it here: it may come back, and what it
 * has not answered cannot be taken back. A request costs a comparison; the clock is read only once
 * a second, while there are requests.
 */
export class Silence {
  readonly #clock: Clock;
  readonly #watched: Watched;
  readonly #onChange: (isSilent: boolean) => void;
  #timer: Timer | undefined;
  /** At the last look. */
  #seen: Traffic = { bytesReceived: 0, bytesWaiting: 0, bytesTaken: 0 };
  /** When it was seen that something had moved, in milliseconds of the clock. */
  #movedAt = 0;
  #isSilent = false;

  /** `onChange`: silent for SERVER_SILENT_MS, or no more. */
  constructor(clock: Clock, watched: Watched, onChange: (isSilent: boolean) => void) {
    this.#clock = clock;
    this.#watched = watched;
    this.#onChange = onChange;
  }

  /** For how long nothing has moved; undefined while that is less than SERVER_SILENT_MS. */
  get ms(): number | undefined {
    return this.#isSilent ? this.#clock.now() - this.#movedAt : undefined;
  }

  requested(): void {
    if (this.#timer !== undefined) return;
    this.#seen = this.#watched.traffic();
    this.#movedAt = this.#clock.now();
    this.#lookSoon();
  }

  answered(): void {
    if (this.#isSilent) this.#set(false);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isSilent = false;
  }

  #lookSoon(): void {
    this.#timer = this.#clock.after(LOOK_MS, () => this.#look());
  }

  #look(): void {
    if (this.#watched.pending() === 0) {
      this.#timer = undefined;
      return;
    }
    const now = this.#clock.now();
    if (this.#hasMoved()) {
      this.#movedAt = now;
      if (this.#isSilent) this.#set(false);
    } else if (!this.#isSilent && now - this.#movedAt >= SERVER_SILENT_MS) this.#set(true);
    this.#lookSoon();
  }

  /** Since the last look. */
  #hasMoved(): boolean {
    const before = this.#seen;
    const now = this.#watched.traffic();
    this.#seen = now;
    if (now.bytesReceived !== before.bytesReceived) return true;
    // What finds room in the system at once says nothing of the peer.
    return before.bytesWaiting > 0 && now.bytesTaken !== before.bytesTaken;
  }

  #set(isSilent: boolean): void {
    this.#isSilent = isSilent;
    this.#onChange(isSilent);
  }
}
