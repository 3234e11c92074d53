/**
 * Numbers and text in and out of bytes, big-endian, without an object a number. 64-bit values are
 * split by division: shifts are 32-bit and signed, and `bigint` is slow and allocates.
 */

/** Bytes that break the protocol. Whoever owns the connection decides what becomes of it. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

const TWO_TO_32 = 0x1_0000_0000;
/** The high half of the largest integer that a number holds exactly. */
const SAFE_HIGH_MAX = 0x1f_ffff;

export function getU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function getU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}

/** The value, or -1 when a number cannot hold it exactly (2^53 and more). */
export function getU64(bytes: Uint8Array, at: number): number {
  const high = getU32(bytes, at);
  return high > SAFE_HIGH_MAX ? -1 : high * TWO_TO_32 + getU32(bytes, at + 4);
}

export function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** `value` is a safe integer. */
export function putU64(bytes: Uint8Array, at: number, value: number): void {
  putU32(bytes, at, Math.floor(value / TWO_TO_32));
  putU32(bytes, at + 4, value % TWO_TO_32);
}

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenientDecoder = new TextDecoder('utf-8', { ignoreBOM: true });

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}

/** A name or a query: UTF-8 without NUL, at most `bytesMax` bytes; `what` is for the error. */
export function decodeText(bytes: Uint8Array, what: string, bytesMax: number): string {
  if (bytes.length > bytesMax) {
    throw new WireError(`${what} is ${bytes.length} bytes long, at most ${bytesMax} are allowed`);
  }
  if (bytes.includes(0)) throw new WireError(`${what} contains a NUL byte`);
  try {
    return strictDecoder.decode(bytes);
  } catch {
    throw new WireError(`${what} is not UTF-8`);
  }
}

/** A message for people, cut to `bytesMax` bytes, but not in the middle of a character. */
export function encodeMessage(message: string, bytesMax: number): Uint8Array {
  const bytes = encodeText(message);
  if (bytes.length <= bytesMax) return bytes;
  let end = bytesMax;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

/**
 * A message for people, as far as it can be read; it is cut at `bytesMax` bytes. It ends up on
 * terminals and in lines of text, so nothing in it may move a cursor or begin a line.
 */
export function decodeMessage(bytes: Uint8Array, bytesMax: number): string {
  return lenientDecoder.decode(bytes.subarray(0, bytesMax)).replace(/\p{Cc}/gu, '\ufffd');
}
