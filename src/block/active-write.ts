import { BlockError } from '../util/errors.ts';
import type { Generation } from '../util/in-flight.ts';
import { Pending, type Watcher } from '../util/pending.ts';
import {
  type BlockNode,
  type Completion,
  type DiskRange,
  WRITE_FUA,
  ZERO_NO_FALLBACK,
} from './node.ts';
import type { RangeHold } from './range-lock.ts';

/** One side of a write-like request: what to do on a node, for the range or a part of it. */
export type Side = (node: BlockNode, range: DiskRange) => Completion;

export function writeOf(offset: number, data: Buffer, flags: number): Side {
  return (node, part) => {
    const from = part.offset - offset;
    const isAll = part.length === data.length;
    return node.write(part.offset, isAll ? data : data.subarray(from, from + part.length), flags);
  };
}

export function zeroesOf(flags: number): Side {
  return (node, { offset, length }) => node.writeZeroes(offset, length, flags);
}

/** A client's request that goes to both sides of a mirror. */
export interface ActiveRequest {
  readonly range: DiskRange;
  /** The range and what is around it in its units. */
  readonly whole: DiskRange;
  readonly unitBytes: number;
  readonly onSource: Side;
  /** Undefined: what the source reads as when it is done. */
  readonly onTarget: Side | undefined;
  /** `onTarget` begins when the source is done, and not together with it. */
  readonly targetFollows: boolean;
  /** The source may say no and do nothing. */
  readonly mayRefuse: boolean;
  /** Of what goes to the target. */
  readonly flags: number;
}

/** Is told at once. */
export interface ActiveWriteOwner {
  /** The target's side has ended, well or not; the source's may not have. */
  targetEnded(write: ActiveWrite): void;
  /** Before anybody who watches the request. */
  bothEnded(write: ActiveWrite): void;
}

/**
 * Such a request on its way. It ends when both sides have, and fails when the source's did; what it
 * watches itself is the target's.
 */
export class ActiveWrite extends Pending implements Watcher {
  readonly request: ActiveRequest;
  /** The hold of its whole range, from when it begins on. */
  hold!: RangeHold;
  /** Whether the mode was write-blocking when it began. */
  copies = false;
  /** What goes to the target. */
  wanted: DiskRange | undefined;
  sourceFailure: unknown;
  targetFailure: unknown;
  /** While it is on its way to the target, and is to be on its disk when it is answered. */
  durable: Generation | undefined;
  /** Sides that have not ended, and one while they are begun. */
  #unfinished = 1;
  readonly #owner: ActiveWriteOwner;

  constructor(request: ActiveRequest, owner: ActiveWriteOwner) {
    super();
    this.request = request;
    this.#owner = owner;
  }

  /** A side was begun that is not done at once. */
  beginSide(): void {
    this.#unfinished++;
  }

  /** Returns whether both have ended now. */
  endSide(): boolean {
    if (--this.#unfinished > 0) return false;
    this.#owner.bothEnded(this);
    return true;
  }

  onEnd(failure: unknown): void {
    this.targetFailure = failure;
    this.#owner.targetEnded(this);
    if (this.endSide()) this.tell();
  }

  /** Tells who waits for it; not needed when it has ended before anybody could. */
  tell(): void {
    if (this.sourceFailure === undefined) this.succeed();
    else this.fail(this.sourceFailure);
  }
}

/**
 * Whether the source may say that it cannot do it fast, and do nothing. Not with FUA: there it may
 * be a flush that says no, behind what has been done.
 */
export function mayRefuse(flags: number): boolean {
  return (flags & ZERO_NO_FALLBACK) !== 0 && (flags & WRITE_FUA) === 0;
}

/** Of who may refuse: nothing has been changed. */
export function isRefusal(failure: unknown): boolean {
  return failure instanceof BlockError && failure.code === 'ENOTSUP';
}
