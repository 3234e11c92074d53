import type { Clock } from '../util/clock.ts';

/**
 * How many bytes of background copies may be on their way to the target. A link that is long and
 * fat is only full with bandwidth x delay of them under way; on a short one clients would wait
 * behind more than a little for nothing. So the window follows twice the product of what
 * the target takes and the shortest time that it took for a piece, between two bounds: where the
 * link is what limits, the time grows with the queue and the shortest one does not, so the window
 * stays; where the window is what limits, it doubles with every round trip. (The idea is BBR's.)
 *
 * On a long link there is nothing to go by at first: the window begins small and grows with
 * every answer, to four times in a round trip, until one has come late: then there is a queue, so
 * the link is full. It does not grow beyond four times what was ever under way: the source may be
 * what limits. (Where copies are alone there may be a little more under way than what is found so.)
 */
const EPOCH_MS_MIN = 20;
/** On shorter ones an epoch is soon over, and answers that are taken together tell nothing. */
const LONG_LINK_MS = 20;
/** In a round trip of the beginning. */
const START_GROWTH = 4;
/** An answer that took so many times the shortest has waited behind others. */
const LATE = 1.5;
/** After this the shortest time is forgotten and looked for anew: routes change. */
const MEMORY_MS = 10_000;

export class CopyWindow {
  /** What may be under way now beside clients that write. */
  bytes: number;
  readonly #clock: Clock;
  readonly #bytesMin: number;
  readonly #bytesMax: number;
  #shortestMs = Number.POSITIVE_INFINITY;
  #starting = true;
  #underWayBytes = 0;
  #mostUnderWay = 0;
  #stretchStart: number;
  #epochStart: number;
  #epochBytes = 0;

  constructor(clock: Clock, bounds: { readonly bytesMin: number; readonly bytesMax: number }) {
    this.#clock = clock;
    this.#bytesMin = bounds.bytesMin;
    this.#bytesMax = bounds.bytesMax;
    this.bytes = bounds.bytesMin;
    this.#stretchStart = clock.now();
    this.#epochStart = clock.now();
  }

  /**
   * Where nobody waits behind them there may be a little more, so that the target never waits; but
   * not while it is found out how short the route is.
   */
  bytesFor(isAlone: boolean): number {
    const knowsRoute = Number.isFinite(this.#shortestMs);
    if (!isAlone || !knowsRoute) return this.bytes;
    return Math.max(this.bytes, Math.min(2 * this.#bytesMin, this.#bytesMax));
  }

  /** `bytes` of data are on their way to the target; returns when that was. */
  sent(bytes: number): number {
    this.#underWayBytes += bytes;
    this.#mostUnderWay = Math.max(this.#mostUnderWay, this.#underWayBytes);
    return this.#clock.now();
  }

  /** They never came there. */
  lost(bytes: number): void {
    this.#underWayBytes -= bytes;
  }

  /** The target has taken `bytes` of data that were sent at `sentAt`. */
  taken(bytes: number, sentAt: number): void {
    this.#underWayBytes -= bytes;
    if (this.#bytesMin === this.#bytesMax) return;
    const now = this.#clock.now();
    if (sentAt < this.#stretchStart) {
      // It has waited behind a window that was larger.
      this.#startEpoch(now);
      return;
    }
    this.#shortestMs = Math.min(this.#shortestMs, now - sentAt);
    if (this.#starting) this.#grow(bytes, now - sentAt, now);
    else this.#follow(bytes, now);
    if (now - this.#stretchStart >= MEMORY_MS) this.#startAgain(now);
  }

  #grow(bytes: number, tookMs: number, now: number): void {
    if (this.#shortestMs < LONG_LINK_MS || tookMs > LATE * this.#shortestMs) {
      this.#starting = false;
      this.#startEpoch(now);
      return;
    }
    const most = Math.min(this.#bytesMax, START_GROWTH * this.#mostUnderWay);
    const grown = Math.min(this.bytes + (START_GROWTH - 1) * bytes, most);
    this.bytes = Math.max(this.bytes, grown);
  }

  #follow(bytes: number, now: number): void {
    this.#epochBytes += bytes;
    const epochMs = now - this.#epochStart;
    if (epochMs < Math.max(EPOCH_MS_MIN, this.#shortestMs)) return;
    const wanted = (2 * this.#epochBytes * this.#shortestMs) / epochMs;
    this.bytes = Math.min(Math.max(wanted, this.#bytesMin), this.#bytesMax);
    this.#startEpoch(now);
  }

  #startEpoch(now: number): void {
    this.#epochStart = now;
    this.#epochBytes = 0;
  }

  /** Small, so that the queue drains: the next pieces show how short the route is by itself. */
  #startAgain(now: number): void {
    this.#stretchStart = now;
    this.#shortestMs = Number.POSITIVE_INFINITY;
    this.bytes = this.#bytesMin;
  }
}
