import { WireError } from '../../protocol/nbd/bytes.ts';
import * as wire from '../../protocol/nbd/constants.ts';
import { nameOfChunk, nameOfCommand } from '../../protocol/nbd/names.ts';
import type { BlockStatus, ErrorChunk } from '../../protocol/nbd/transmission.ts';
import { TARGET_SCATTERED_CHUNKS_MAX } from '../util/limits.ts';
import { Pending } from '../util/pending.ts';
import type { Payload } from './outbox.ts';

/**
 * A request that a server has not answered in full, and what it may still answer: each content
 * chunk of a READ lies inside the request and apart from the others, together they cover it; a
 * BLOCK_STATUS has one list of extents a context. Whatever else comes is a `WireError`.
 */
export interface ServerError {
  /** NBD_E*. */
  readonly error: number;
  /** The server's own words; may be empty. */
  readonly message: string;
}

interface Span {
  readonly offset: number;
  end: number;
}

export interface RequestFields {
  /** NBD_CMD_*. */
  readonly type: number;
  /** NBD_CMD_FLAG_*. */
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
}

export class PendingRequest extends Pending {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  /** Where a READ's data goes to. */
  readonly buffer: Buffer | undefined;
  /** A WRITE's data. */
  readonly payload: Payload | undefined;
  /** The halves of its cookie, set when it is sent: where the client keeps it, and since when. */
  slot = 0;
  sequence = 0;
  /** The payload still stands in the caller's buffer, and the system has not taken all of it. */
  unsent = false;
  /** What the server said first, if it said that the request failed. */
  failure: ServerError | undefined;
  /** Undefined until there is one: few requests ask. */
  statuses: BlockStatus[] | undefined;

  /** Everything from the request's beginning up to here has come. */
  #comeUpTo: number;
  #comeBytes = 0;
  /** Chunks beyond that, when the server answers out of order. */
  #scattered: Span[] | undefined;

  constructor(fields: RequestFields, data: Payload | undefined) {
    super();
    this.type = fields.type;
    this.flags = fields.flags;
    this.offset = fields.offset;
    this.length = fields.length;
    this.buffer = fields.type === wire.NBD_CMD_READ ? (data as Buffer) : undefined;
    this.payload = fields.type === wire.NBD_CMD_WRITE ? data : undefined;
    this.#comeUpTo = fields.offset;
  }

  /** Where the data of a content chunk belongs. */
  takeData(offset: number, length: number): Buffer {
    this.#cover(offset, length, wire.NBD_REPLY_TYPE_OFFSET_DATA);
    return this.#place(offset, length);
  }

  takeHole(offset: number, length: number): void {
    this.#cover(offset, length, wire.NBD_REPLY_TYPE_OFFSET_HOLE);
    this.#place(offset, length).fill(0);
  }

  takeStatus(status: BlockStatus, contextIds: readonly number[]): void {
    this.expectType(wire.NBD_CMD_BLOCK_STATUS, wire.NBD_REPLY_TYPE_BLOCK_STATUS);
    const { contextId, extents } = status;
    if (!contextIds.includes(contextId)) throw new WireError(`context ${contextId} is unknown`);
    this.statuses ??= [];
    if (this.statuses.some((other) => other.contextId === contextId)) {
      throw new WireError(`context ${contextId} is described twice`);
    }
    if ((this.flags & wire.NBD_CMD_FLAG_REQ_ONE) !== 0 && extents.length !== 1) {
      throw new WireError(`${extents.length} extents came where one was asked for`);
    }
    let before = 0;
    for (const extent of extents) {
      if (before >= this.length) throw new WireError('an extent begins beyond the request');
      before += extent.length;
    }
    this.statuses.push(status);
  }

  takeError(chunk: ErrorChunk): void {
    const { offset } = chunk;
    if (offset !== undefined && (offset < this.offset || offset >= this.offset + this.length)) {
      throw new WireError(`an error at ${offset} lies outside of ${this.describe()}`);
    }
    this.failure ??= chunk;
  }

  /** No more chunks come. A success must be complete. */
  finish(contexts: number): void {
    if (this.failure !== undefined) return;
    if (this.type === wire.NBD_CMD_READ && this.#comeBytes !== this.length) {
      throw new WireError(`only ${this.#comeBytes} bytes came for ${this.describe()}`);
    }
    const described = this.statuses?.length ?? 0;
    if (this.type === wire.NBD_CMD_BLOCK_STATUS && described !== contexts) {
      throw new WireError(`${described} of ${contexts} contexts came`);
    }
  }

  expectType(type: number, chunk: number): void {
    if (this.type === type) return;
    throw new WireError(`${nameOfChunk(chunk)} answers ${nameOfCommand(this.type)}`);
  }

  describe(): string {
    return `${nameOfCommand(this.type)} of ${this.length} bytes at ${this.offset}`;
  }

  #place(offset: number, length: number): Buffer {
    const from = offset - this.offset;
    return this.buffer!.subarray(from, from + length);
  }

  #cover(offset: number, length: number, chunk: number): void {
    this.expectType(wire.NBD_CMD_READ, chunk);
    const end = offset + length;
    if (length === 0 || offset < this.offset || end > this.offset + this.length) {
      throw new WireError(`a chunk of ${length} at ${offset} lies outside of ${this.describe()}`);
    }
    const meets = (other: Span) => other.offset < end && offset < other.end;
    if (offset < this.#comeUpTo || this.#scattered?.some(meets)) {
      throw new WireError(`bytes at ${offset} came twice for ${this.describe()}`);
    }
    this.#comeBytes += length;
    if (offset === this.#comeUpTo) {
      this.#comeUpTo = end;
      return;
    }
    // Most go on where the latest one ended.
    const latest = this.#scattered?.at(-1);
    if (latest?.end === offset) {
      latest.end = end;
      return;
    }
    this.#scattered ??= [];
    if (this.#scattered.push({ offset, end }) > TARGET_SCATTERED_CHUNKS_MAX) {
      throw new WireError(`too many chunks out of order for ${this.describe()}`);
    }
  }
}
