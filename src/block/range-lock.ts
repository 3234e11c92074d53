import { assert } from '../util/assert.ts';
import type { Watcher } from '../util/pending.ts';

/**
 * Byte ranges of a disk, each held by one request at a time. Requests that overlap get their range
 * in the order in which they asked for it; requests that do not overlap never wait for each other.
 *
 * Everybody who holds or waits is a claim, and each claim counts the earlier ones that overlap it;
 * it is granted when that count falls to zero. A claim that is held never overlaps an earlier one,
 * so whatever overlaps it when it is released has counted it. The scan is linear: there are as
 * many claims as requests in flight, and looking at one costs a few nanoseconds.
 */
export interface RangeHold extends Watcher {
  /** Lets the range go. Once, and by whoever got the hold. */
  release(): void;
  /** As `release`: for who holds the range as long as a request. */
  onEnd(): void;
  /** Lets go what is at `end` and behind it; something stays held. */
  shorten(end: number): void;
}

export class RangeLock {
  /**
   * In no order: each claim has counted whom it waits for when it came. Not a Set: that leaves a
   * table behind for every few claims, and each table holds on to the next, so that the garbage
   * collector has to copy them all.
   */
  readonly #claims: Claim[] = [];
  #waiting = 0;

  /** Claims that hold their range. */
  get held(): number {
    return this.#claims.length - this.#waiting;
  }

  /** The ranges that are held. */
  *ranges(): Generator<{ readonly offset: number; readonly length: number }> {
    for (const { offset, end, blockers } of this.#claims) {
      if (blockers === 0) yield { offset, length: end - offset };
    }
  }

  /** Claims that wait for theirs. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Holds the range; a promise when somebody who came earlier holds or waits for part of it. */
  lock(offset: number, length: number): RangeHold | Promise<RangeHold> {
    const claim = this.#claim(offset, length);
    claim.blockers = this.#countOverlaps(claim.offset, claim.end);
    this.#claims.push(claim);
    if (claim.blockers === 0) return claim;
    this.#waiting++;
    return new Promise((resolve) => {
      claim.grant = resolve;
    });
  }

  /** Holds the range if that needs no waiting, and overtakes nobody who waits for part of it. */
  tryLock(offset: number, length: number): RangeHold | undefined {
    const claim = this.#claim(offset, length);
    for (const other of this.#claims) if (overlap(other, claim.offset, claim.end)) return undefined;
    this.#claims.push(claim);
    return claim;
  }

  #claim(offset: number, length: number): Claim {
    assert(offset >= 0 && length > 0, 'a range to hold has a length');
    return new Claim(this.#owner, offset, offset + length);
  }

  #countOverlaps(offset: number, end: number): number {
    let count = 0;
    for (const other of this.#claims) if (overlap(other, offset, end)) count++;
    return count;
  }

  readonly #owner = {
    release: (claim: Claim) => {
      const index = this.#claims.indexOf(claim);
      assert(index !== -1, 'a range is released once');
      // The last one takes its place.
      const last = this.#claims.pop()!;
      if (last !== claim) this.#claims[index] = last;
      this.#leave(claim, claim.offset, claim.end);
    },
    shorten: (claim: Claim, end: number) => {
      assert(end > claim.offset && end <= claim.end, 'a part of a range stays held');
      const before = claim.end;
      claim.end = end;
      this.#leave(claim, end, before);
    },
  };

  /** A claim has no more of the range: who waited for that alone has one less to wait for. */
  #leave(claim: Claim, offset: number, end: number): void {
    if (this.#waiting === 0) return;
    for (const later of this.#claims) {
      if (later === claim || !overlap(later, offset, end)) continue;
      if (offset > claim.offset && overlap(later, claim.offset, offset)) continue;
      later.blockers--;
      if (later.blockers > 0) continue;
      this.#waiting--;
      later.grant!(later);
    }
  }
}

interface Owner {
  release(claim: Claim): void;
  shorten(claim: Claim, end: number): void;
}

class Claim implements RangeHold {
  readonly offset: number;
  end: number;
  /** Earlier claims that overlap this one. */
  blockers = 0;
  /** Ends the wait; undefined for a claim that never waited. */
  grant: ((hold: RangeHold) => void) | undefined;
  readonly #owner: Owner;

  constructor(owner: Owner, offset: number, end: number) {
    this.#owner = owner;
    this.offset = offset;
    this.end = end;
  }

  release(): void {
    this.#owner.release(this);
  }

  onEnd(): void {
    this.release();
  }

  shorten(end: number): void {
    this.#owner.shorten(this, end);
  }
}

function overlap(claim: Claim, offset: number, end: number): boolean {
  return claim.offset < end && offset < claim.end;
}
