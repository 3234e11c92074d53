import {
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../../protocol/nbd/constants.ts';
import { errorOfErrno } from '../../protocol/nbd/errors.ts';
import {
  type BlockStatus,
  blockStatusBytes,
  CHUNK_HEADER_BYTES,
  encodeErrorChunk,
  newChunkHeader,
  OFFSET_DATA_PREFIX_BYTES,
  OFFSET_HOLE_BYTES,
  type RequestHeader,
  SIMPLE_REPLY_BYTES,
  type SimpleReply,
  writeBlockStatus,
  writeChunkHeader,
  writeDataOffset,
  writeHole,
  writeSimpleReply,
} from '../../protocol/nbd/transmission.ts';
import type { DiskRange } from '../block/node.ts';
import type { Errno } from '../util/errors.ts';
import type { Output } from './output.ts';

/**
 * Replies in the form that was agreed with one client. Without structured replies everything is a
 * simple reply; with them READs and errors are chunks, and what has nothing to tell stays simple:
 * that is allowed and shorter.
 */
export class Replies {
  /** What precedes the data of a READ's reply. */
  readonly readPrefixBytes: number;
  /** READs may be answered in parts. */
  readonly structured: boolean;
  readonly #output: Output;
  /** Used again for every reply: the hot path allocates nothing. */
  readonly #simple: SimpleReply = { error: 0, cookieHigh: 0, cookieLow: 0 };
  readonly #chunk = newChunkHeader();

  constructor(output: Output, structured: boolean) {
    this.#output = output;
    this.structured = structured;
    this.readPrefixBytes = structured
      ? CHUNK_HEADER_BYTES + OFFSET_DATA_PREFIX_BYTES
      : SIMPLE_REPLY_BYTES;
  }

  ok(request: RequestHeader): void {
    this.#putSimple(request, 0);
  }

  /** Writes what precedes the data; the caller has put the data behind it. */
  writeReadPrefix(buffer: Buffer, at: number, request: RequestHeader): void {
    if (!this.structured) {
      this.#writeSimple(buffer, at, request, 0);
      return;
    }
    this.writeDataPrefix(buffer, at, request, request, true);
  }

  /** Writes what precedes the data of one part of a READ. */
  writeDataPrefix(
    buffer: Buffer,
    at: number,
    request: RequestHeader,
    part: DiskRange,
    last: boolean,
  ): void {
    this.#describe(NBD_REPLY_TYPE_OFFSET_DATA, OFFSET_DATA_PREFIX_BYTES + part.length, last);
    this.#writeChunk(buffer, at, request);
    writeDataOffset(buffer, at + CHUNK_HEADER_BYTES, part.offset);
  }

  /** Says that one part of a READ is zeroes, without sending them. */
  writeHole(
    buffer: Buffer,
    at: number,
    request: RequestHeader,
    part: DiskRange,
    last: boolean,
  ): void {
    this.#describe(NBD_REPLY_TYPE_OFFSET_HOLE, OFFSET_HOLE_BYTES, last);
    this.#writeChunk(buffer, at, request);
    writeHole(buffer, at + CHUNK_HEADER_BYTES, part.offset, part.length);
  }

  /** A READ of nothing: a data chunk would have to hold at least one byte. */
  emptyRead(request: RequestHeader): void {
    if (!this.structured) {
      this.ok(request);
      return;
    }
    this.#describe(NBD_REPLY_TYPE_NONE, 0);
    this.#putChunk(request, NO_PAYLOAD);
  }

  /** What one context says; `last` of all the selected ones. */
  blockStatus(request: RequestHeader, status: BlockStatus, last: boolean): void {
    const payload = Buffer.allocUnsafe(blockStatusBytes(status.extents.length));
    writeBlockStatus(payload, 0, status);
    this.#describe(NBD_REPLY_TYPE_BLOCK_STATUS, payload.length, last);
    this.#putChunk(request, payload);
  }

  /** `message` reaches clients that take structured replies. */
  error(request: RequestHeader, code: Errno, message: string): void {
    const error = errorOfErrno(code, request);
    if (!this.structured) {
      this.#putSimple(request, error);
      return;
    }
    const payload = encodeErrorChunk({ error, message });
    this.#describe(NBD_REPLY_TYPE_ERROR, payload.length);
    this.#putChunk(request, payload);
  }

  #putSimple(request: RequestHeader, error: number): void {
    const { buffer } = this.#output.reserve(SIMPLE_REPLY_BYTES);
    this.#writeSimple(buffer, this.#output.at, request, error);
    this.#output.commit(SIMPLE_REPLY_BYTES);
  }

  #writeSimple(buffer: Buffer, at: number, request: RequestHeader, error: number): void {
    this.#simple.error = error;
    this.#simple.cookieHigh = request.cookieHigh;
    this.#simple.cookieLow = request.cookieLow;
    writeSimpleReply(buffer, at, this.#simple);
  }

  /** The chunk to come. */
  #describe(type: number, length: number, last = true): void {
    this.#chunk.flags = last ? NBD_REPLY_FLAG_DONE : 0;
    this.#chunk.type = type;
    this.#chunk.length = length;
  }

  #putChunk(request: RequestHeader, payload: Uint8Array): void {
    const bytes = CHUNK_HEADER_BYTES + payload.length;
    const { buffer } = this.#output.reserve(bytes);
    this.#writeChunk(buffer, this.#output.at, request);
    buffer.set(payload, this.#output.at + CHUNK_HEADER_BYTES);
    this.#output.commit(bytes);
  }

  #writeChunk(buffer: Buffer, at: number, request: RequestHeader): void {
    this.#chunk.cookieHigh = request.cookieHigh;
    this.#chunk.cookieLow = request.cookieLow;
    writeChunkHeader(buffer, at, this.#chunk);
  }
}

const NO_PAYLOAD = new Uint8Array(0);
