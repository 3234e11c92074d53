import { assert } from '../util/assert.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { LeakyBucket } from './leaky-bucket.ts';
import type { Completion } from './node.ts';
import { checkLimits, DIRECTIONS, type ThrottleLimits } from './throttle-limits.ts';

/**
 * One allowance that several nodes share. Reads and writes wait in lanes of their own, since they
 * may have limits of their own; where both wait for the same limit they are served in turn, and in
 * a lane the nodes are. So nobody starves, whatever the others ask for.
 *
 * One timer serves the group. It has a grain of a millisecond; what has leaked meanwhile is
 * admitted together.
 */
export type Direction = 'read' | 'write';

interface Waiter {
  readonly bytes: number;
  resolve(): void;
  reject(error: Error): void;
}

interface Lane {
  /** Limits of this lane alone and limits of both lanes together. */
  readonly byteBuckets: readonly LeakyBucket[];
  readonly operationBuckets: readonly LeakyBucket[];
  /** First the node whose turn it is; nodes that do not wait are not in it. */
  readonly waiting: Map<ThrottleMember, Waiter[]>;
}

export class ThrottleGroup {
  readonly name: string;
  readonly #clock: Clock;
  readonly #operationBytes: number;
  readonly #buckets: readonly LeakyBucket[];
  readonly #lanes: Readonly<Record<Direction, Lane>>;
  readonly #members = new Set<ThrottleMember>();
  #leakedAt: number;
  #timer: Timer | undefined;
  #servedLast: Lane | undefined;

  /** Throws `RefusedError` when the limits contradict each other. */
  constructor(name: string, limits: ThrottleLimits, clock: Clock) {
    const { rates, operationBytes } = checkLimits(limits);
    this.name = name;
    this.#clock = clock;
    this.#operationBytes = operationBytes;
    const bucketsOf = (unit: 'bps' | 'iops') => {
      const [total, read, write] = DIRECTIONS.map((to) => new LeakyBucket(rates[`${unit}-${to}`]));
      return { total: total!, read: read!, write: write! };
    };
    const bytes = bucketsOf('bps');
    const operations = bucketsOf('iops');
    this.#buckets = [...Object.values(bytes), ...Object.values(operations)];
    const lane = (direction: Direction): Lane => ({
      byteBuckets: [bytes.total, bytes[direction]],
      operationBuckets: [operations.total, operations[direction]],
      waiting: new Map(),
    });
    this.#lanes = { read: lane('read'), write: lane('write') };
    this.#leakedAt = clock.now();
  }

  /** Some node is throttled by this group. */
  get inUse(): boolean {
    return this.#members.size > 0;
  }

  join(): ThrottleMember {
    const member = new ThrottleMember(this);
    this.#members.add(member);
    return member;
  }

  /** `ThrottleMember`'s: nothing of it may wait. */
  leave(member: ThrottleMember): void {
    assert(!Object.values(this.#lanes).some((lane) => lane.waiting.has(member)), 'nothing waits');
    this.#members.delete(member);
  }

  /** `ThrottleMember`'s. */
  admit(member: ThrottleMember, direction: Direction, bytes: number): Completion {
    const lane = this.#lanes[direction];
    if (!this.#anybodyWaits && this.#waitSeconds(lane) === 0) {
      this.#account(lane, bytes);
      return;
    }
    return new Promise((resolve, reject) => {
      const first = lane.waiting.size === 0;
      const queue = lane.waiting.get(member) ?? [];
      queue.push({ bytes, resolve, reject });
      lane.waiting.set(member, queue);
      if (first) this.#serve();
    });
  }

  /** `ThrottleMember`'s: takes out all that wait for it; the limit is charged for those let go. */
  takeWaiting(member: ThrottleMember, options: { charged: boolean }): readonly Waiter[] {
    const taken: Waiter[] = [];
    for (const lane of Object.values(this.#lanes)) {
      const queue = lane.waiting.get(member) ?? [];
      lane.waiting.delete(member);
      taken.push(...queue);
      if (options.charged) for (const { bytes } of queue) this.#account(lane, bytes);
    }
    if (taken.length > 0) this.#serve();
    return taken;
  }

  get #anybodyWaits(): boolean {
    return this.#lanes.read.waiting.size > 0 || this.#lanes.write.waiting.size > 0;
  }

  /** Admits whoever may go, then sleeps until the next one may. */
  #serve(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const { lane, seconds } = next;
      if (seconds > 0) {
        this.#timer = this.#clock.after(Math.ceil(seconds * 1000), () => this.#serve());
        return;
      }
      const waiter = takeTurn(lane);
      this.#account(lane, waiter.bytes);
      waiter.resolve();
    }
  }

  /** The lane that may go first; of two that may go alike, the one that was not served last. */
  #next(): { lane: Lane; seconds: number } | undefined {
    const waiting = Object.values(this.#lanes)
      .filter((lane) => lane.waiting.size > 0)
      .map((lane) => ({ lane, seconds: this.#waitSeconds(lane) }));
    const [one, other] = waiting;
    if (one === undefined || other === undefined) return one;
    if (one.seconds === other.seconds) return one.lane === this.#servedLast ? other : one;
    return one.seconds < other.seconds ? one : other;
  }

  #waitSeconds(lane: Lane): number {
    const now = this.#clock.now();
    const passed = (now - this.#leakedAt) / 1000;
    this.#leakedAt = now;
    let longest = 0;
    for (const bucket of this.#buckets) bucket.leak(passed);
    for (const bucket of lane.byteBuckets) longest = Math.max(longest, bucket.waitSeconds);
    for (const bucket of lane.operationBuckets) longest = Math.max(longest, bucket.waitSeconds);
    return longest;
  }

  #account(lane: Lane, bytes: number): void {
    const operations = this.#operationBytes === 0 ? 1 : Math.max(1, bytes / this.#operationBytes);
    this.#servedLast = lane;
    for (const bucket of lane.byteBuckets) bucket.pour(bytes);
    for (const bucket of lane.operationBuckets) bucket.pour(operations);
  }
}

/** The first request of the node whose turn it is; the node goes to the end. */
function takeTurn(lane: Lane): Waiter {
  const [member, queue] = lane.waiting.entries().next().value!;
  const waiter = queue.shift()!;
  lane.waiting.delete(member);
  if (queue.length > 0) lane.waiting.set(member, queue);
  return waiter;
}

/** One node's place in a group. */
export class ThrottleMember {
  readonly group: ThrottleGroup;

  constructor(group: ThrottleGroup) {
    this.group = group;
  }

  /** Nothing: go on. A promise: when it is this request's turn. */
  admit(direction: Direction, bytes: number): Completion {
    return this.group.admit(this, direction, bytes);
  }

  /** All that wait go on at once, whatever the limit says; the limit is charged for them. */
  release(): void {
    for (const waiter of this.group.takeWaiting(this, { charged: true })) waiter.resolve();
  }

  /** All that wait fail. */
  cancel(reason: Error): void {
    for (const waiter of this.group.takeWaiting(this, { charged: false })) waiter.reject(reason);
  }

  leave(): void {
    this.release();
    this.group.leave(this);
  }
}
