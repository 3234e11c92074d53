import { Attempts } from '../util/attempts.ts';
import type { Clock } from '../util/clock.ts';
import type { SocketCalls } from '../util/socket-calls.ts';
import { Slab } from './slab.ts';

/**
 * Sockets from which bytes have just come are *hot* for a moment, because more tend to follow. They
 * are looked at by system calls of our own, and not read by the event loop: its way from a socket
 * to us, and back, takes longer than a small request does in all other respects. As long as
 * something comes of them they are looked at again at once, for a moment, as a turn of the event
 * loop costs as much as a request. Everything else is served as ever, since the loop turns: at once
 * when it has something or hot sockets need it, and often enough for timers, new connections and
 * what else it has to begin.
 *
 * When a look finds nothing, what is best depends on how many requests are on their way:
 *
 * - one at a time: to stay awake, and look on. A processor that went to sleep takes 20 to 50 us to
 *   come back, which is more than a request takes (QEMU's `poll-max-ns` is the same idea);
 * - many: to sleep until something comes. Whoever we wait for can use the processor.
 *
 * They are told apart by the first look after some work: with many on their way, something has come
 * meanwhile.
 *
 * A moment that ends before anything came was in vain: then arrivals go by without one, more of
 * them each time, so that a disk in slow use costs next to nothing.
 */
export interface HotSocket {
  /** Below zero while nothing is to be read. */
  readonly descriptor: number;
  /** Takes what has arrived; returns whether anything has. */
  look(): boolean;
  /** The event loop reads it again. */
  cool(): void;
}

/** How long the next bytes of hot sockets are looked for again and again. */
export const HOT_AWAKE_MS = 0.05;
/** How long, in whole milliseconds, they are waited for asleep: as long may a timer be late. */
export const HOT_ASLEEP_MS = 1;
/** Sockets that are hot at a time; each costs a moment of every look at all of them. */
export const HOT_SOCKETS_MAX = 16;
/** Arrivals in a row that make no socket hot when nothing has followed earlier ones. */
export const HOT_MISSES_MAX = 63;
/** How long hot sockets are looked at before the event loop has its turn, for its timers too. */
export const HOT_ALONE_MS = 1;
/** Of first looks after some work; with fewer that find something, requests come one at a time. */
const EARLY_PART = 0.5;
/** How many such looks the part is taken of, roughly. */
const EARLY_LOOKS = 32;

export class HotSockets {
  readonly calls: SocketCalls;
  /** Bytes are read into it that have no place of their own. */
  readonly slab = new Slab();
  readonly #clock: Clock;
  readonly #mayStayAwake: boolean;
  readonly #moments = new Attempts(HOT_MISSES_MAX);
  #sockets: HotSocket[] = [];
  #isTurning = false;
  /** The first look since something came, in milliseconds of the clock. */
  #quietSince = 0;
  /** Something has come after what made the first socket hot. */
  #followed = false;
  /** Something has come since the latest look, or was found by it. */
  #worked = false;
  /**
   * The latest look found something, be it for the event loop: it may have begun to wait for more,
   * which the system is told in its next turn.
   */
  #stirred = false;
  #earlyPart = 0;
  /** Since its latest turn there is something for the event loop, or something new to wait for. */
  #isLoopDue = false;
  /** The event loop has no turn before the next look. */
  #isAlone = false;
  /** The latest look right behind a turn of the event loop, in milliseconds of the clock. */
  #aloneSince = 0;

  /** `mayStayAwake`: there is a processor for whoever we wait for. */
  constructor(clock: Clock, calls: SocketCalls, mayStayAwake: boolean) {
    this.#clock = clock;
    this.calls = calls;
    this.#mayStayAwake = mayStayAwake;
  }

  /** The event loop has read from a socket. Returns whether it is hot now. */
  arrived(socket: HotSocket): boolean {
    if (!this.#isTurning && !this.#moments.isDue()) return false;
    if (this.#sockets.length === HOT_SOCKETS_MAX) return false;
    this.#sockets.push(socket);
    this.#worked = true;
    this.#followed = this.#isTurning;
    if (!this.#isTurning) this.#clock.defer(this.#turn);
    this.#isTurning = true;
    return true;
  }

  /** A hot socket was closed. */
  forget(socket: HotSocket): void {
    this.#sockets = this.#sockets.filter((other) => other !== socket);
  }

  /** Gives a hot socket back to the event loop. */
  cool(socket: HotSocket): void {
    this.forget(socket);
    socket.cool();
    this.loopIsDue();
  }

  /** The event loop is to wait for something new, of which it tells the system in its next turn. */
  loopIsDue(): void {
    this.#isLoopDue = true;
  }

  #manyOnTheirWay(): boolean {
    return this.#earlyPart >= EARLY_PART;
  }

  readonly #turn = (): void => {
    const now = this.#clock.now();
    if (!this.#isAlone) this.#aloneSince = now;
    if (this.#worked) this.#quietSince = now;
    const staysAwake = this.#mayStayAwake && !this.#manyOnTheirWay();
    const quietUntil = this.#quietSince + (staysAwake ? HOT_AWAKE_MS : HOT_ASLEEP_MS);
    const aloneUntil = this.#aloneSince + HOT_ALONE_MS;
    if (now >= quietUntil || this.#sockets.length === 0) {
      this.#end();
      return;
    }
    try {
      this.#stirred = staysAwake
        ? this.#waitAwake(Math.min(quietUntil, aloneUntil))
        : this.#waitAsleep();
      if (this.#stirred && this.calls.isLoopReady()) this.loopIsDue();
      this.#worked = this.#stirred && this.#lookAtReady();
      if (this.#worked) this.#followed = true;
    } finally {
      // That somebody throws is no reason to leave sockets unread.
      this.#turnAgain();
    }
  };

  #turnAgain(): void {
    const aloneMs = this.#clock.now() - this.#aloneSince;
    this.#isAlone = this.#worked && !this.#isLoopDue && aloneMs < HOT_ALONE_MS;
    this.#isLoopDue = false;
    if (this.#isAlone) this.#clock.settle(this.#turn);
    else this.#clock.defer(this.#turn);
  }

  /** What has still to happen before it makes sense to wait. */
  #othersAreDue(): boolean {
    return this.#isLoopDue || this.#clock.hasDeferred();
  }

  /**
   * Looks until something has come, but not longer than up to `until` in milliseconds of the clock,
   * and only once if others are due. Returns whether something has come.
   */
  #waitAwake(until: number): boolean {
    const once = this.#othersAreDue();
    let ready = this.#hasCome();
    while (!ready && !once && this.#clock.now() < until) {
      ready = this.calls.wait(this.#sockets, 0);
    }
    return ready;
  }

  /**
   * Sleeps until something has come, or only looks: right behind some work, or if others are due.
   * Returns whether something has come.
   */
  #waitAsleep(): boolean {
    if (this.#worked || this.#stirred || this.#othersAreDue()) return this.#hasCome();
    const start = this.#clock.now();
    const ready = this.calls.wait(this.#sockets, HOT_ASLEEP_MS);
    this.#clock.slept(this.#clock.now() - start);
    return ready;
  }

  /** One look. Right behind some work it tells how many requests are on their way. */
  #hasCome(): boolean {
    const ready = this.calls.wait(this.#sockets, 0);
    if (this.#worked) {
      const found = ready && this.#sockets.some((_, index) => this.calls.isReady(index));
      this.#earlyPart += (Number(found) - this.#earlyPart) / EARLY_LOOKS;
    }
    return ready;
  }

  /** Returns whether bytes came of any of them. */
  #lookAtReady(): boolean {
    const sockets = this.#sockets;
    let found = false;
    for (let i = sockets.length - 1; i >= 0; i--) {
      const socket = sockets[i]!;
      if (!this.calls.isReady(i)) continue;
      // Else it has ended, or is broken: the event loop finds out.
      if (socket.look()) found = true;
      else this.cool(socket);
    }
    return found;
  }

  #end(): void {
    this.#isTurning = false;
    this.#isAlone = false;
    if (this.#followed) this.#moments.succeeded();
    else this.#moments.failed();
    for (const socket of this.#sockets.splice(0)) socket.cool();
  }
}
