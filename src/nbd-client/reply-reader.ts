import { WireError } from '../../protocol/nbd/bytes.ts';
import * as wire from '../../protocol/nbd/constants.ts';
import { nameOfChunk } from '../../protocol/nbd/names.ts';
import * as transmission from '../../protocol/nbd/transmission.ts';
import type { ByteSink } from '../net/incoming.ts';
import {
  DIRECT_RECEIVE_BYTES_MIN,
  TARGET_STATUS_EXTENTS_MAX,
  TARGET_STATUS_EXTENTS_READ_MAX,
} from '../util/limits.ts';
import type { PendingRequest } from './request.ts';

/**
 * Replies out of a byte stream, whatever pieces it comes in. What stands whole in one piece is
 * decoded where it stands; only what straddles pieces is put together. A READ's data is copied
 * once, to its place in the caller's buffer, and a long one is received there without a copy.
 *
 * Every field that is used is checked; the first that breaks a rule ends the reading (`onEnd`).
 */
export interface ReplyHandlers {
  /** The request that a cookie belongs to, if it is in flight. */
  find(cookieHigh: number, cookieLow: number): PendingRequest | undefined;
  /** The whole reply to a request is in. */
  onAnswered(request: PendingRequest): void;
  /** Nothing more will be read: with a `WireError` the server broke the rules. */
  onEnd(error: WireError | undefined): void;
}

export interface ReplyTerms {
  readonly structured: boolean;
  readonly contextIds: readonly number[];
}

type State = 'magic' | 'simple' | 'chunk' | 'data offset' | 'payload' | 'data' | 'ended';

/** The longest payload of a chunk that is put together before it is decoded. */
const ERROR_BYTES_MAX = transmission.ERROR_PREFIX_BYTES + wire.NBD_MAX_STRING + 8;
const STATUS_BYTES_MAX = transmission.blockStatusBytes(TARGET_STATUS_EXTENTS_MAX);
const SCRATCH_BYTES = 4096;
const MAGIC_BYTES = 4;

export class ReplyReader implements ByteSink {
  readonly #terms: ReplyTerms;
  readonly #handlers: ReplyHandlers;
  #state: State = 'magic';

  /** The piece at hand, and how far it has been read. */
  #piece: Buffer = NOTHING;
  #at = 0;
  /** What straddles pieces. */
  #scratch = Buffer.allocUnsafe(SCRATCH_BYTES);
  #scratchBytes = 0;
  /** Where the bytes that `#have` asked for stand. */
  #view: Buffer = NOTHING;
  #viewAt = 0;

  readonly #simple: transmission.SimpleReply = { error: 0, cookieHigh: 0, cookieLow: 0 };
  readonly #chunk = transmission.newChunkHeader();
  /** Whose reply is being read. */
  #request: PendingRequest | undefined;
  /** Where the data goes that is being received. */
  #data: Buffer = NOTHING;
  #dataBytes = 0;

  constructor(terms: ReplyTerms, handlers: ReplyHandlers) {
    this.#terms = terms;
    this.#handlers = handlers;
  }

  push(piece: Buffer): boolean {
    this.#piece = piece;
    this.#at = 0;
    try {
      while (this.#step());
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#end(error);
    }
    this.#piece = NOTHING;
    return false;
  }

  room(): Buffer | undefined {
    if (this.#state !== 'data') return undefined;
    const rest = this.#data.length - this.#dataBytes;
    return rest >= DIRECT_RECEIVE_BYTES_MIN ? this.#data.subarray(this.#dataBytes) : undefined;
  }

  filled(bytes: number): void {
    if (this.#state !== 'data') return;
    this.#dataBytes += bytes;
    // What is complete is told by the state machine, in one place.
    this.push(NOTHING);
  }

  end(): void {
    if (this.#state !== 'ended') this.#end(undefined);
  }

  /** Reads no more, and tells nobody. */
  stop(): void {
    this.#state = 'ended';
    this.#data = NOTHING;
    this.#request = undefined;
  }

  #end(error: WireError | undefined): void {
    this.stop();
    this.#handlers.onEnd(error);
  }

  /** One part of a reply; false when it has to wait for bytes. */
  #step(): boolean {
    switch (this.#state) {
      case 'magic':
        return this.#readMagic();
      case 'simple':
        return this.#readSimpleReply();
      case 'chunk':
        return this.#readChunkHeader();
      case 'data offset':
        return this.#readDataOffset();
      case 'payload':
        return this.#readPayload();
      case 'data':
        return this.#readData();
      case 'ended':
        return false;
    }
  }

  #readMagic(): boolean {
    if (!this.#have(MAGIC_BYTES)) return false;
    const magic = transmission.replyMagic(this.#view, this.#viewAt);
    if (magic === wire.NBD_SIMPLE_REPLY_MAGIC) this.#state = 'simple';
    else if (magic === wire.NBD_STRUCTURED_REPLY_MAGIC && this.#terms.structured) {
      this.#state = 'chunk';
    } else throw new WireError(`a reply cannot begin with 0x${magic.toString(16)}`);
    return true;
  }

  #readSimpleReply(): boolean {
    if (!this.#have(transmission.SIMPLE_REPLY_BYTES)) return false;
    const reply = this.#simple;
    transmission.readSimpleReply(this.#view, this.#viewAt, reply);
    this.#consume(transmission.SIMPLE_REPLY_BYTES);
    const request = this.#find(reply.cookieHigh, reply.cookieLow);
    this.#expectSimple(request, reply.error);
    if (reply.error !== 0) {
      request.failure = { error: reply.error, message: '' };
    } else if (request.type === wire.NBD_CMD_READ) {
      this.#chunk.flags = wire.NBD_REPLY_FLAG_DONE;
      this.#receive(request.takeData(request.offset, request.length));
      return true;
    }
    this.#answered(request);
    return true;
  }

  #expectSimple(request: PendingRequest, error: number): void {
    const needsChunks =
      (request.type === wire.NBD_CMD_READ && this.#terms.structured) ||
      (request.type === wire.NBD_CMD_BLOCK_STATUS && error === 0);
    if (needsChunks || request.statuses !== undefined || request.failure !== undefined) {
      throw new WireError(`a simple reply cannot answer ${request.describe()}`);
    }
  }

  #readChunkHeader(): boolean {
    if (!this.#have(transmission.CHUNK_HEADER_BYTES)) return false;
    const chunk = this.#chunk;
    transmission.readChunkHeader(this.#view, this.#viewAt, chunk);
    this.#consume(transmission.CHUNK_HEADER_BYTES);
    const request = this.#find(chunk.cookieHigh, chunk.cookieLow);
    this.#expectChunkLength(chunk.type, chunk.length, request);
    if (chunk.type === wire.NBD_REPLY_TYPE_NONE) this.#endOfChunk();
    else if (chunk.type === wire.NBD_REPLY_TYPE_OFFSET_DATA) this.#state = 'data offset';
    else this.#state = 'payload';
    return true;
  }

  /** Bounds what is waited for, before anything of it is taken. */
  #expectChunkLength(type: number, length: number, request: PendingRequest): void {
    let legal: boolean;
    if (type === wire.NBD_REPLY_TYPE_NONE) {
      legal = length === 0 && (this.#chunk.flags & wire.NBD_REPLY_FLAG_DONE) !== 0;
    } else if (type === wire.NBD_REPLY_TYPE_OFFSET_DATA) {
      const dataBytes = length - transmission.OFFSET_DATA_PREFIX_BYTES;
      legal = dataBytes > 0 && dataBytes <= request.length;
    } else if (type === wire.NBD_REPLY_TYPE_OFFSET_HOLE) {
      legal = length === transmission.OFFSET_HOLE_BYTES;
    } else if (type === wire.NBD_REPLY_TYPE_BLOCK_STATUS) {
      legal = length <= STATUS_BYTES_MAX && request.type === wire.NBD_CMD_BLOCK_STATUS;
    } else if ((type & wire.NBD_REPLY_TYPE_ERROR_BIT) !== 0) {
      legal = length <= ERROR_BYTES_MAX;
    } else {
      throw new WireError(`${nameOfChunk(type)} is unknown`);
    }
    if (!legal) {
      const what = `${nameOfChunk(type)} with ${length} bytes and flags ${this.#chunk.flags}`;
      throw new WireError(`${what} cannot answer ${request.describe()}`);
    }
  }

  #readDataOffset(): boolean {
    if (!this.#have(transmission.OFFSET_DATA_PREFIX_BYTES)) return false;
    const offset = transmission.readDataOffset(this.#view, this.#viewAt);
    this.#consume(transmission.OFFSET_DATA_PREFIX_BYTES);
    const length = this.#chunk.length - transmission.OFFSET_DATA_PREFIX_BYTES;
    this.#receive(this.#request!.takeData(offset, length));
    return true;
  }

  #receive(data: Buffer): void {
    this.#data = data;
    this.#dataBytes = 0;
    this.#state = 'data';
  }

  #readData(): boolean {
    const rest = this.#data.length - this.#dataBytes;
    const bytes = Math.min(rest, this.#piece.length - this.#at);
    this.#piece.copy(this.#data, this.#dataBytes, this.#at, this.#at + bytes);
    this.#at += bytes;
    this.#dataBytes += bytes;
    if (bytes < rest) return false;
    this.#data = NOTHING;
    this.#endOfChunk();
    return true;
  }

  #readPayload(): boolean {
    const { type, length } = this.#chunk;
    if (!this.#have(length)) return false;
    const payload = this.#view.subarray(this.#viewAt, this.#viewAt + length);
    const request = this.#request!;
    if (type === wire.NBD_REPLY_TYPE_OFFSET_HOLE) {
      const hole = transmission.readHole(payload, 0);
      request.takeHole(hole.offset, hole.length);
    } else if (type === wire.NBD_REPLY_TYPE_BLOCK_STATUS) {
      const status = transmission.decodeBlockStatus(payload, TARGET_STATUS_EXTENTS_READ_MAX);
      request.takeStatus(status, this.#terms.contextIds);
    } else if (type === wire.NBD_REPLY_TYPE_ERROR || type === wire.NBD_REPLY_TYPE_ERROR_OFFSET) {
      request.takeError(transmission.decodeErrorChunk(payload, type));
    } else {
      // An error of a kind that was thought of later: it failed, and that is all we understand.
      request.failure ??= { error: wire.NBD_EINVAL, message: nameOfChunk(type) };
    }
    this.#consume(length);
    this.#endOfChunk();
    return true;
  }

  #endOfChunk(): void {
    this.#state = 'magic';
    const request = this.#request!;
    if ((this.#chunk.flags & wire.NBD_REPLY_FLAG_DONE) !== 0) this.#answered(request);
  }

  #answered(request: PendingRequest): void {
    request.finish(this.#terms.contextIds.length);
    this.#state = 'magic';
    this.#request = undefined;
    this.#handlers.onAnswered(request);
  }

  #find(cookieHigh: number, cookieLow: number): PendingRequest {
    const request = this.#handlers.find(cookieHigh, cookieLow);
    if (request === undefined) {
      throw new WireError(`a reply answers no request (cookie ${cookieHigh}:${cookieLow})`);
    }
    this.#request = request;
    return request;
  }

  /** Whether `bytes` bytes stand together at `#viewAt` of `#view`; they are not used up. */
  #have(bytes: number): boolean {
    const available = this.#piece.length - this.#at;
    if (this.#scratchBytes === 0 && available >= bytes) {
      this.#view = this.#piece;
      this.#viewAt = this.#at;
      return true;
    }
    if (this.#scratch.length < bytes) {
      const larger = Buffer.allocUnsafe(bytes);
      this.#scratch.copy(larger, 0, 0, this.#scratchBytes);
      this.#scratch = larger;
    }
    const missing = bytes - this.#scratchBytes;
    const moved = Math.min(missing, available);
    this.#piece.copy(this.#scratch, this.#scratchBytes, this.#at, this.#at + moved);
    this.#at += moved;
    this.#scratchBytes += moved;
    this.#view = this.#scratch;
    this.#viewAt = 0;
    return moved === missing;
  }

  /** Uses up what `#have` showed, all of it. */
  #consume(bytes: number): void {
    if (this.#scratchBytes === 0) this.#at += bytes;
    this.#scratchBytes = 0;
    if (this.#scratch.length > SCRATCH_BYTES) this.#scratch = Buffer.allocUnsafe(SCRATCH_BYTES);
  }
}

const NOTHING = Buffer.alloc(0);
