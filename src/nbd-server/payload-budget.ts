import type { Clock, Timer } from '../util/clock.ts';
import { CLIENT_OWN_PAYLOAD_BYTES } from '../util/limits.ts';

/**
 * What the clients of a server hold of payload together: WRITEs that are received or written, READs
 * that are read or sent. Each client has a little of its own, so that ordinary requests never wait
 * for somebody else's long ones; what it holds beyond that comes from here.
 *
 * A request gets all that it needs at once, or waits, first come first served. Whoever waits holds
 * only what is on its way to its end by itself, so two can never wait for each other.
 */
export class PayloadBudget {
  readonly #clock: Clock;
  #freeBytes: number;
  readonly #waiting: PayloadShare[] = [];
  #waking: Timer | undefined;

  constructor(clock: Clock, bytesMax: number) {
    this.#clock = clock;
    this.#freeBytes = bytesMax;
  }

  /** Somebody else waits for what `share` holds. */
  isWantedOf(share: PayloadShare): boolean {
    return this.#waiting.some((other) => other !== share);
  }

  /** A client's part; `onRoom` is called when it has waited and may try again. */
  share(onRoom: () => void): PayloadShare {
    return new PayloadShare(this, onRoom);
  }

  /** Gives the share `bytes` more, or puts it in the queue. */
  take(share: PayloadShare, bytes: number): boolean {
    const first = this.#waiting[0] ?? share;
    if (first === share && bytes <= this.#freeBytes) {
      this.#freeBytes -= bytes;
      this.leave(share);
      return true;
    }
    if (!this.#waiting.includes(share)) this.#waiting.push(share);
    return false;
  }

  give(bytes: number): void {
    this.#freeBytes += bytes;
    this.#wakeNext();
  }

  /** The share waits no more. */
  leave(share: PayloadShare): void {
    if (this.#waiting.length === 0) return;
    const index = this.#waiting.indexOf(share);
    if (index === -1) return;
    this.#waiting.splice(index, 1);
    this.#wakeNext();
  }

  /** In a turn of its own: whoever gives is in the middle of something. */
  #wakeNext(): void {
    if (this.#waiting.length === 0) return;
    this.#waking ??= this.#clock.defer(() => {
      this.#waking = undefined;
      this.#waiting[0]?.onRoom();
    });
  }
}

export class PayloadShare {
  readonly onRoom: () => void;
  readonly #budget: PayloadBudget;
  #takenBytes = 0;

  constructor(budget: PayloadBudget, onRoom: () => void) {
    this.#budget = budget;
    this.onRoom = onRoom;
  }

  /** The client holds more than its own, and others wait for it. */
  get isWanted(): boolean {
    return this.#takenBytes > 0 && this.#budget.isWantedOf(this);
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Whether the client may come to hold `bytes` in all; if not, `onRoom` will be called. */
  grow(bytes: number): boolean {
    const missing = bytes - CLIENT_OWN_PAYLOAD_BYTES - this.#takenBytes;
    if (missing > 0) {
      if (!this.#budget.take(this, missing)) return false;
      this.#takenBytes += missing;
    } else {
      this.leave();
    }
    return true;
  }

  /** The client holds `bytes` now: what it has taken beyond that goes back. */
  settle(bytes: number): void {
    if (this.#takenBytes === 0) return;
    const needed = Math.max(0, bytes - CLIENT_OWN_PAYLOAD_BYTES);
    if (needed >= this.#takenBytes) return;
    const given = this.#takenBytes - needed;
    this.#takenBytes = needed;
    this.#budget.give(given);
  }

  /** The client does not wait for the budget any more. */
  leave(): void {
    this.#budget.leave(this);
  }
}
