import {
  decodeMessage,
  encodeMessage,
  getU16,
  getU32,
  getU64,
  putU16,
  putU32,
  putU64,
  WireError,
} from './bytes.ts';
import * as wire from './constants.ts';

/**
 * The messages of the transmission phase. Headers go into and come out of a buffer at an offset,
 * into an object that is used again: this is the path of every request, and it allocates nothing.
 * A decoder of a header returns whether the magic number was right.
 *
 * Cookies are opaque and stay two u32. Offsets are numbers; -1 stands for one that no number holds
 * (2^53 and more), which lies outside of every disk.
 */

export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;
/** What precedes the data in an OFFSET_DATA chunk. */
export const OFFSET_DATA_PREFIX_BYTES = 8;
export const OFFSET_HOLE_BYTES = 12;
/** The context id in front of the extents of a BLOCK_STATUS chunk, and one of these. */
export const BLOCK_STATUS_PREFIX_BYTES = 4;
export const BLOCK_STATUS_EXTENT_BYTES = 8;
/** An ERROR chunk with an empty message. */
export const ERROR_PREFIX_BYTES = 6;

export interface RequestHeader {
  flags: number;
  /** NBD_CMD_*. */
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** -1 when it is 2^53 or more. */
  offset: number;
  length: number;
}

export function newRequestHeader(): RequestHeader {
  return { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 };
}

export function writeRequest(bytes: Uint8Array, at: number, request: RequestHeader): void {
  putU32(bytes, at, wire.NBD_REQUEST_MAGIC);
  putU16(bytes, at + 4, request.flags);
  putU16(bytes, at + 6, request.type);
  putU32(bytes, at + 8, request.cookieHigh);
  putU32(bytes, at + 12, request.cookieLow);
  putU64(bytes, at + 16, request.offset);
  putU32(bytes, at + 24, request.length);
}

export function readRequest(bytes: Uint8Array, at: number, into: RequestHeader): boolean {
  into.flags = getU16(bytes, at + 4);
  into.type = getU16(bytes, at + 6);
  into.cookieHigh = getU32(bytes, at + 8);
  into.cookieLow = getU32(bytes, at + 12);
  into.offset = getU64(bytes, at + 16);
  into.length = getU32(bytes, at + 24);
  return getU32(bytes, at) === wire.NBD_REQUEST_MAGIC;
}

/** Which kind of reply begins at `at`: one of NBD_*_REPLY_MAGIC, or anything else. */
export function replyMagic(bytes: Uint8Array, at: number): number {
  return getU32(bytes, at);
}

export interface SimpleReply {
  /** NBD_E*, 0 for success. */
  error: number;
  cookieHigh: number;
  cookieLow: number;
}

export function writeSimpleReply(bytes: Uint8Array, at: number, reply: SimpleReply): void {
  putU32(bytes, at, wire.NBD_SIMPLE_REPLY_MAGIC);
  putU32(bytes, at + 4, reply.error);
  putU32(bytes, at + 8, reply.cookieHigh);
  putU32(bytes, at + 12, reply.cookieLow);
}

export function readSimpleReply(bytes: Uint8Array, at: number, into: SimpleReply): boolean {
  into.error = getU32(bytes, at + 4);
  into.cookieHigh = getU32(bytes, at + 8);
  into.cookieLow = getU32(bytes, at + 12);
  return getU32(bytes, at) === wire.NBD_SIMPLE_REPLY_MAGIC;
}

/** The header of one chunk of a structured reply. */
export interface ChunkHeader {
  flags: number;
  /** NBD_REPLY_TYPE_*. */
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Bytes of payload that follow. */
  length: number;
}

export function newChunkHeader(): ChunkHeader {
  return { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, length: 0 };
}

export function writeChunkHeader(bytes: Uint8Array, at: number, chunk: ChunkHeader): void {
  putU32(bytes, at, wire.NBD_STRUCTURED_REPLY_MAGIC);
  putU16(bytes, at + 4, chunk.flags);
  putU16(bytes, at + 6, chunk.type);
  putU32(bytes, at + 8, chunk.cookieHigh);
  putU32(bytes, at + 12, chunk.cookieLow);
  putU32(bytes, at + 16, chunk.length);
}

export function readChunkHeader(bytes: Uint8Array, at: number, into: ChunkHeader): boolean {
  into.flags = getU16(bytes, at + 4);
  into.type = getU16(bytes, at + 6);
  into.cookieHigh = getU32(bytes, at + 8);
  into.cookieLow = getU32(bytes, at + 12);
  into.length = getU32(bytes, at + 16);
  return getU32(bytes, at) === wire.NBD_STRUCTURED_REPLY_MAGIC;
}

/** The first 8 bytes of an OFFSET_DATA payload; the data follows. */
export function writeDataOffset(bytes: Uint8Array, at: number, offset: number): void {
  putU64(bytes, at, offset);
}

/** -1 when it is 2^53 or more. */
export function readDataOffset(bytes: Uint8Array, at: number): number {
  return getU64(bytes, at);
}

/** The whole payload of an OFFSET_HOLE chunk. */
export function writeHole(bytes: Uint8Array, at: number, offset: number, length: number): void {
  putU64(bytes, at, offset);
  putU32(bytes, at + 8, length);
}

export function readHole(bytes: Uint8Array, at: number): { offset: number; length: number } {
  return { offset: getU64(bytes, at), length: getU32(bytes, at + 8) };
}

/** One extent as a metadata context describes it; what `flags` means depends on the context. */
export interface StatusExtent {
  readonly length: number;
  readonly flags: number;
}

/** The payload of a BLOCK_STATUS chunk. */
export interface BlockStatus {
  readonly contextId: number;
  readonly extents: readonly StatusExtent[];
}

export function blockStatusBytes(extents: number): number {
  return BLOCK_STATUS_PREFIX_BYTES + extents * BLOCK_STATUS_EXTENT_BYTES;
}

/** Writes `blockStatusBytes(status.extents.length)` bytes. */
export function writeBlockStatus(bytes: Uint8Array, at: number, status: BlockStatus): void {
  putU32(bytes, at, status.contextId);
  let next = at + BLOCK_STATUS_PREFIX_BYTES;
  for (const extent of status.extents) {
    putU32(bytes, next, extent.length);
    putU32(bytes, next + 4, extent.flags);
    next += BLOCK_STATUS_EXTENT_BYTES;
  }
}

/**
 * `payload` is the whole payload; what is behind the first `extentsMax` is not looked at. Throws
 * `WireError`.
 */
export function decodeBlockStatus(
  payload: Uint8Array,
  extentsMax = Number.POSITIVE_INFINITY,
): BlockStatus {
  const extentBytes = payload.length - BLOCK_STATUS_PREFIX_BYTES;
  if (extentBytes <= 0 || extentBytes % BLOCK_STATUS_EXTENT_BYTES !== 0) {
    throw new WireError(`a block status chunk has ${payload.length} bytes`);
  }
  const extents: StatusExtent[] = [];
  const end = Math.min(payload.length, blockStatusBytes(extentsMax));
  for (let at = BLOCK_STATUS_PREFIX_BYTES; at < end; at += BLOCK_STATUS_EXTENT_BYTES) {
    const length = getU32(payload, at);
    if (length === 0) throw new WireError('a block status chunk has an empty extent');
    extents.push({ length, flags: getU32(payload, at + 4) });
  }
  return { contextId: getU32(payload, 0), extents };
}

/** The payload of an ERROR or ERROR_OFFSET chunk. */
export interface ErrorChunk {
  /** NBD_E*. */
  readonly error: number;
  /** For people; may be empty. */
  readonly message: string;
  /** Only of ERROR_OFFSET; -1 when it is 2^53 or more. */
  readonly offset?: number;
}

export function encodeErrorChunk(chunk: ErrorChunk): Uint8Array {
  const text = encodeMessage(chunk.message, wire.NBD_MAX_STRING);
  const offsetBytes = chunk.offset === undefined ? 0 : 8;
  const bytes = new Uint8Array(ERROR_PREFIX_BYTES + text.length + offsetBytes);
  putU32(bytes, 0, chunk.error);
  putU16(bytes, 4, text.length);
  bytes.set(text, ERROR_PREFIX_BYTES);
  if (chunk.offset !== undefined) putU64(bytes, ERROR_PREFIX_BYTES + text.length, chunk.offset);
  return bytes;
}

/** `payload` is the whole payload of a chunk of `type`, one of the two. Throws `WireError`. */
export function decodeErrorChunk(payload: Uint8Array, type: number): ErrorChunk {
  const offsetBytes = type === wire.NBD_REPLY_TYPE_ERROR_OFFSET ? 8 : 0;
  if (payload.length < ERROR_PREFIX_BYTES + offsetBytes) {
    throw new WireError(`an error chunk has only ${payload.length} bytes`);
  }
  const error = getU32(payload, 0);
  if (error === 0) throw new WireError('an error chunk says that there was no error');
  const messageBytes = getU16(payload, 4);
  if (payload.length !== ERROR_PREFIX_BYTES + messageBytes + offsetBytes) {
    throw new WireError(`an error chunk of ${payload.length} bytes has ${messageBytes} of text`);
  }
  const end = ERROR_PREFIX_BYTES + messageBytes;
  const message = decodeMessage(payload.subarray(ERROR_PREFIX_BYTES, end), wire.NBD_MAX_STRING);
  if (offsetBytes === 0) return { error, message };
  return { error, message, offset: getU64(payload, end) };
}
