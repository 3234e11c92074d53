import {
  decodeMessage,
  decodeText,
  encodeText,
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
 * The messages of the handshake, both directions of each: what a client encodes a server decodes.
 * Headers have a fixed size and are decoded from exactly that many bytes; the length that they
 * announce is for the caller to bound before it reads on. Decoders throw `WireError`.
 */

export const GREETING_BYTES = 18;
export const CLIENT_FLAGS_BYTES = 4;
export const OPTION_HEADER_BYTES = 16;
export const OPTION_REPLY_HEADER_BYTES = 20;
/** What answers NBD_OPT_EXPORT_NAME, without and with its padding. */
export const EXPORT_NAME_REPLY_BYTES = 10;
export const EXPORT_NAME_PADDING_BYTES = 124;

export interface Greeting {
  /** A server from before the negotiation existed; its flags are not decoded. */
  readonly oldstyle: boolean;
  /** NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES. */
  readonly flags: number;
}

export function encodeGreeting(flags: number): Uint8Array {
  const bytes = new Uint8Array(GREETING_BYTES);
  putU32(bytes, 0, wire.NBD_MAGIC_HIGH);
  putU32(bytes, 4, wire.NBD_MAGIC_LOW);
  putU32(bytes, 8, wire.NBD_OPTS_MAGIC_HIGH);
  putU32(bytes, 12, wire.NBD_OPTS_MAGIC_LOW);
  putU16(bytes, 16, flags);
  return bytes;
}

export function decodeGreeting(bytes: Uint8Array): Greeting {
  if (getU32(bytes, 0) !== wire.NBD_MAGIC_HIGH || getU32(bytes, 4) !== wire.NBD_MAGIC_LOW) {
    throw new WireError('the greeting does not begin with NBDMAGIC');
  }
  const high = getU32(bytes, 8);
  const low = getU32(bytes, 12);
  if (high === wire.NBD_OLDSTYLE_MAGIC_HIGH && low === wire.NBD_OLDSTYLE_MAGIC_LOW) {
    return { oldstyle: true, flags: 0 };
  }
  if (high !== wire.NBD_OPTS_MAGIC_HIGH || low !== wire.NBD_OPTS_MAGIC_LOW) {
    throw new WireError('the greeting does not go on with IHAVEOPT');
  }
  return { oldstyle: false, flags: getU16(bytes, 16) };
}

export function encodeClientFlags(flags: number): Uint8Array {
  const bytes = new Uint8Array(CLIENT_FLAGS_BYTES);
  putU32(bytes, 0, flags);
  return bytes;
}

export function decodeClientFlags(bytes: Uint8Array): number {
  return getU32(bytes, 0);
}

export interface OptionHeader {
  readonly option: number;
  /** Bytes of data that follow the header. */
  readonly length: number;
}

/** Header and data. */
export function encodeOption(option: number, data: Uint8Array = NOTHING): Uint8Array {
  const bytes = new Uint8Array(OPTION_HEADER_BYTES + data.length);
  putU32(bytes, 0, wire.NBD_OPTS_MAGIC_HIGH);
  putU32(bytes, 4, wire.NBD_OPTS_MAGIC_LOW);
  putU32(bytes, 8, option);
  putU32(bytes, 12, data.length);
  bytes.set(data, OPTION_HEADER_BYTES);
  return bytes;
}

export function decodeOptionHeader(bytes: Uint8Array): OptionHeader {
  if (
    getU32(bytes, 0) !== wire.NBD_OPTS_MAGIC_HIGH ||
    getU32(bytes, 4) !== wire.NBD_OPTS_MAGIC_LOW
  ) {
    throw new WireError('an option does not begin with IHAVEOPT');
  }
  return { option: getU32(bytes, 8), length: getU32(bytes, 12) };
}

export interface OptionReplyHeader {
  /** The option that is answered. */
  readonly option: number;
  /** NBD_REP_*. */
  readonly type: number;
  /** Bytes of data that follow the header. */
  readonly length: number;
}

/** Header and data. The data of an error is a message for people, from `encodeMessage`. */
export function encodeOptionReply(
  option: number,
  type: number,
  data: Uint8Array = NOTHING,
): Uint8Array {
  const bytes = new Uint8Array(OPTION_REPLY_HEADER_BYTES + data.length);
  putU32(bytes, 0, wire.NBD_REP_MAGIC_HIGH);
  putU32(bytes, 4, wire.NBD_REP_MAGIC_LOW);
  putU32(bytes, 8, option);
  putU32(bytes, 12, type);
  putU32(bytes, 16, data.length);
  bytes.set(data, OPTION_REPLY_HEADER_BYTES);
  return bytes;
}

export function decodeOptionReplyHeader(bytes: Uint8Array): OptionReplyHeader {
  if (getU32(bytes, 0) !== wire.NBD_REP_MAGIC_HIGH || getU32(bytes, 4) !== wire.NBD_REP_MAGIC_LOW) {
    throw new WireError('an option reply has the wrong magic number');
  }
  return { option: getU32(bytes, 8), type: getU32(bytes, 12), length: getU32(bytes, 16) };
}

export function isErrorReply(type: number): boolean {
  return type >= wire.NBD_REP_FLAG_ERROR;
}

/** Size in bytes and NBD_FLAG_* of an export. */
export interface ExportInfo {
  readonly size: number;
  readonly flags: number;
}

/** The answer to NBD_OPT_EXPORT_NAME; `padded` unless both sides agreed on NO_ZEROES. */
export function encodeExportNameReply(info: ExportInfo, padded: boolean): Uint8Array {
  const padding = padded ? EXPORT_NAME_PADDING_BYTES : 0;
  const bytes = new Uint8Array(EXPORT_NAME_REPLY_BYTES + padding);
  putU64(bytes, 0, info.size);
  putU16(bytes, 8, info.flags);
  return bytes;
}

export function decodeExportNameReply(bytes: Uint8Array): ExportInfo {
  return exportInfo(bytes, 0);
}

/** The data of NBD_REP_INFO. */
export type Info =
  | ({ readonly type: typeof wire.NBD_INFO_EXPORT } & ExportInfo)
  | { readonly type: typeof wire.NBD_INFO_NAME; readonly name: string }
  | { readonly type: typeof wire.NBD_INFO_DESCRIPTION; readonly description: string }
  | {
      readonly type: typeof wire.NBD_INFO_BLOCK_SIZE;
      readonly minimum: number;
      readonly preferred: number;
      /** 0xffffffff: no limit. */
      readonly maximum: number;
    };

export function encodeInfo(info: Info): Uint8Array {
  switch (info.type) {
    case wire.NBD_INFO_EXPORT: {
      const bytes = new Uint8Array(12);
      putU16(bytes, 0, info.type);
      putU64(bytes, 2, info.size);
      putU16(bytes, 10, info.flags);
      return bytes;
    }
    case wire.NBD_INFO_NAME:
      return infoText(info.type, info.name);
    case wire.NBD_INFO_DESCRIPTION:
      return infoText(info.type, info.description);
    case wire.NBD_INFO_BLOCK_SIZE: {
      const bytes = new Uint8Array(14);
      putU16(bytes, 0, info.type);
      putU32(bytes, 2, info.minimum);
      putU32(bytes, 6, info.preferred);
      putU32(bytes, 10, info.maximum);
      return bytes;
    }
  }
}

/** Undefined for a type that we do not know, which is to be ignored. */
export function decodeInfo(bytes: Uint8Array): Info | undefined {
  if (bytes.length < 2) throw new WireError(`NBD_REP_INFO has only ${bytes.length} bytes of data`);
  const type = getU16(bytes, 0);
  switch (type) {
    case wire.NBD_INFO_EXPORT:
      expectLength(bytes, 12, 'NBD_INFO_EXPORT');
      return { type, ...exportInfo(bytes, 2) };
    case wire.NBD_INFO_NAME:
      return { type, name: text(bytes.subarray(2), 'the name of the export') };
    case wire.NBD_INFO_DESCRIPTION:
      // Servers send it unasked: it is for people, and no reason to do without the disk.
      return { type, description: decodeMessage(bytes.subarray(2), wire.NBD_MAX_STRING) };
    case wire.NBD_INFO_BLOCK_SIZE:
      expectLength(bytes, 14, 'NBD_INFO_BLOCK_SIZE');
      return {
        type,
        minimum: getU32(bytes, 2),
        preferred: getU32(bytes, 6),
        maximum: getU32(bytes, 10),
      };
    default:
      return undefined;
  }
}

/** The data of NBD_OPT_INFO and NBD_OPT_GO. */
export interface GoRequest {
  readonly exportName: string;
  /** NBD_INFO_* that the client asks for; it may ask for what does not exist, and repeat itself. */
  readonly infos: readonly number[];
}

export function encodeGoRequest(request: GoRequest): Uint8Array {
  const name = encodeText(request.exportName);
  const bytes = new Uint8Array(4 + name.length + 2 + 2 * request.infos.length);
  putU32(bytes, 0, name.length);
  bytes.set(name, 4);
  putU16(bytes, 4 + name.length, request.infos.length);
  let at = 4 + name.length + 2;
  for (const info of request.infos) {
    putU16(bytes, at, info);
    at += 2;
  }
  return bytes;
}

export function decodeGoRequest(bytes: Uint8Array): GoRequest {
  const name = counted(bytes, 0, 'the export name');
  const exportName = text(name, 'the export name');
  let at = 4 + name.length;
  if (bytes.length < at + 2) throw new WireError('the number of information requests is missing');
  const count = getU16(bytes, at);
  at += 2;
  expectLength(bytes, at + 2 * count, `a request for ${count} kinds of information`);
  const infos: number[] = [];
  for (; at < bytes.length; at += 2) infos.push(getU16(bytes, at));
  return { exportName, infos };
}

/** The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export interface MetaContextRequest {
  readonly exportName: string;
  readonly queries: readonly string[];
}

export function encodeMetaContextRequest(request: MetaContextRequest): Uint8Array {
  const texts = [request.exportName, ...request.queries].map(encodeText);
  const textBytes = texts.reduce((sum, one) => sum + 4 + one.length, 0);
  const bytes = new Uint8Array(textBytes + 4);
  let at = 0;
  for (const [index, one] of texts.entries()) {
    putU32(bytes, at, one.length);
    bytes.set(one, at + 4);
    at += 4 + one.length;
    if (index === 0) {
      putU32(bytes, at, request.queries.length);
      at += 4;
    }
  }
  return bytes;
}

export function decodeMetaContextRequest(bytes: Uint8Array): MetaContextRequest {
  const name = counted(bytes, 0, 'the export name');
  const exportName = text(name, 'the export name');
  let at = 4 + name.length;
  if (bytes.length < at + 4) throw new WireError('the number of queries is missing');
  const count = getU32(bytes, at);
  at += 4;
  const queries: string[] = [];
  // A count that lies ends at the end of the data: nothing is allocated by its word.
  for (let index = 0; index < count; index++) {
    const query = counted(bytes, at, 'a query');
    queries.push(text(query, 'a query'));
    at += 4 + query.length;
  }
  expectLength(bytes, at, `a request with ${count} queries`);
  return { exportName, queries };
}

/** The data of NBD_REP_META_CONTEXT. */
export interface MetaContext {
  readonly id: number;
  readonly name: string;
}

export function encodeMetaContext(context: MetaContext): Uint8Array {
  const name = encodeText(context.name);
  const bytes = new Uint8Array(4 + name.length);
  putU32(bytes, 0, context.id);
  bytes.set(name, 4);
  return bytes;
}

export function decodeMetaContext(bytes: Uint8Array): MetaContext {
  if (bytes.length < 4) throw new WireError('NBD_REP_META_CONTEXT has no context id');
  return { id: getU32(bytes, 0), name: text(bytes.subarray(4), 'the name of a context') };
}

/** The data of NBD_REP_SERVER: one export of a list. */
export interface ListedExport {
  readonly name: string;
  readonly description: string;
}

export function encodeListedExport(listed: ListedExport): Uint8Array {
  const name = encodeText(listed.name);
  const description = encodeText(listed.description);
  const bytes = new Uint8Array(4 + name.length + description.length);
  putU32(bytes, 0, name.length);
  bytes.set(name, 4);
  bytes.set(description, 4 + name.length);
  return bytes;
}

export function decodeListedExport(bytes: Uint8Array): ListedExport {
  const name = counted(bytes, 0, 'the export name');
  return {
    name: text(name, 'the export name'),
    description: text(bytes.subarray(4 + name.length), 'the description of the export'),
  };
}

/** The whole data of NBD_OPT_EXPORT_NAME. */
export function decodeExportName(bytes: Uint8Array): string {
  return text(bytes, 'the export name');
}

const NOTHING = new Uint8Array(0);

function exportInfo(bytes: Uint8Array, at: number): ExportInfo {
  const size = getU64(bytes, at);
  if (size < 0) throw new WireError('the export is larger than 2^53 bytes');
  return { size, flags: getU16(bytes, at + 8) };
}

function infoText(type: number, value: string): Uint8Array {
  const encoded = encodeText(value);
  const bytes = new Uint8Array(2 + encoded.length);
  putU16(bytes, 0, type);
  bytes.set(encoded, 2);
  return bytes;
}

function text(bytes: Uint8Array, what: string): string {
  return decodeText(bytes, what, wire.NBD_MAX_STRING);
}

/** The bytes that a 32-bit count at `at` announces. */
function counted(bytes: Uint8Array, at: number, what: string): Uint8Array {
  if (bytes.length < at + 4) throw new WireError(`the length of ${what} is missing`);
  const length = getU32(bytes, at);
  const rest = bytes.length - at - 4;
  if (length > rest) {
    throw new WireError(`${what} is said to have ${length} bytes, but only ${rest} follow`);
  }
  return bytes.subarray(at + 4, at + 4 + length);
}

function expectLength(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length) {
    throw new WireError(`${what} has ${bytes.length} bytes of data instead of ${length}`);
  }
}
