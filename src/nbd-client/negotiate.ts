import { decodeMessage, WireError } from '../../protocol/nbd/bytes.ts';
import * as wire from '../../protocol/nbd/constants.ts';
import * as handshake from '../../protocol/nbd/handshake.ts';
import { nameOfOption, nameOfReply } from '../../protocol/nbd/names.ts';
import type { Connection } from '../net/connection.ts';
import { ProtocolError } from '../util/errors.ts';
import { NBD_OPTION_BYTES_MAX, TARGET_OPTION_REPLIES_MAX } from '../util/limits.ts';

/**
 * The client's half of the handshake, from the greeting to the first request: structured replies
 * and metadata contexts where the server has them, then GO, or EXPORT_NAME for old servers. One
 * option at a time, as the protocol wants it.
 */

/** What client and server have agreed on: the export, and how to talk about it. */
export interface Agreement {
  readonly size: number;
  readonly abilities: Abilities;
  readonly structured: boolean;
  /** The chosen metadata contexts that the server has. */
  readonly contexts: readonly handshake.MetaContext[];
  /** Undefined when the server did not say. */
  readonly blockSize: BlockSize | undefined;
}

/** What the server lets us do, and does itself. */
export interface Abilities {
  readonly readOnly: boolean;
  readonly flush: boolean;
  /** Without it a flush has to follow. */
  readonly fua: boolean;
  readonly trim: boolean;
  readonly writeZeroes: boolean;
  /** Zeroes faster than by writing them, or says that it cannot. */
  readonly fastZero: boolean;
  readonly cache: boolean;
}

export interface BlockSize {
  readonly minimum: number;
  readonly preferred: number;
  /** The longest payload. */
  readonly maximum: number;
}

/** The server understood and said no. ABORT was sent. */
export class ServerRefusal extends Error {
  override readonly name = 'ServerRefusal';
}

/** Rejects with `ServerRefusal`, `ProtocolError`, or `WireError`. */
export async function negotiate(
  connection: Connection,
  exportName: string,
  contexts: readonly string[],
): Promise<Agreement> {
  return new Negotiation(connection, exportName).run(contexts);
}

/** The final reply to an option, and what came before it. */
interface Answer {
  readonly type: number;
  readonly data: Buffer;
  readonly replies: readonly { readonly type: number; readonly data: Buffer }[];
}

class Negotiation {
  readonly #connection: Connection;
  readonly #exportName: string;

  constructor(connection: Connection, exportName: string) {
    this.#connection = connection;
    this.#exportName = exportName;
  }

  async run(contexts: readonly string[]): Promise<Agreement> {
    const greeting = handshake.decodeGreeting(
      await this.#connection.read(handshake.GREETING_BYTES),
    );
    if (greeting.oldstyle) {
      throw new ProtocolError(
        `${this.#connection.peer} speaks the oldstyle protocol without negotiation, which ended ` +
          'with nbd 3.10',
      );
    }
    const fixed = (greeting.flags & wire.NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    const noZeroes = (greeting.flags & wire.NBD_FLAG_NO_ZEROES) !== 0;
    const clientFlags =
      (fixed ? wire.NBD_FLAG_C_FIXED_NEWSTYLE : 0) | (noZeroes ? wire.NBD_FLAG_C_NO_ZEROES : 0);
    this.#write(handshake.encodeClientFlags(clientFlags));
    // Without fixed newstyle the server closes on any option but EXPORT_NAME.
    if (!fixed) return this.#exportNameOnly(noZeroes, false, []);
    const structured = await this.#askStructured();
    const chosen = structured ? await this.#choose(contexts) : [];
    const go = await this.#go(structured, chosen);
    return go ?? this.#exportNameOnly(noZeroes, structured, chosen);
  }

  async #askStructured(): Promise<boolean> {
    const answer = await this.#ask(wire.NBD_OPT_STRUCTURED_REPLY);
    if (answer.type === wire.NBD_REP_ERR_TLS_REQD) return this.#refuse(answer);
    return answer.type === wire.NBD_REP_ACK;
  }

  async #choose(queries: readonly string[]): Promise<readonly handshake.MetaContext[]> {
    if (queries.length === 0) return [];
    const option = wire.NBD_OPT_SET_META_CONTEXT;
    const request = { exportName: this.#exportName, queries };
    const answer = await this.#ask(option, handshake.encodeMetaContextRequest(request));
    // A refusal only means that there are none; GO will say whether there is such an export.
    if (answer.type !== wire.NBD_REP_ACK) return [];
    const contexts: handshake.MetaContext[] = [];
    for (const { type, data } of answer.replies) {
      expectReply(option, type, wire.NBD_REP_META_CONTEXT);
      const context = handshake.decodeMetaContext(data);
      if (!queries.includes(context.name)) {
        const what = JSON.stringify(context.name);
        throw new WireError(`the server chose the context ${what}, we did not`);
      }
      if (contexts.some(({ id, name }) => id === context.id || name === context.name)) {
        throw new WireError(`the server chose the context ${JSON.stringify(context.name)} twice`);
      }
      contexts.push(context);
    }
    return contexts;
  }

  /** Undefined when the server does not know GO. */
  async #go(
    structured: boolean,
    contexts: readonly handshake.MetaContext[],
  ): Promise<Agreement | undefined> {
    const option = wire.NBD_OPT_GO;
    const request = { exportName: this.#exportName, infos: [wire.NBD_INFO_BLOCK_SIZE] };
    const answer = await this.#ask(option, handshake.encodeGoRequest(request));
    if (answer.type === wire.NBD_REP_ERR_UNSUP) return undefined;
    if (answer.type !== wire.NBD_REP_ACK) return this.#refuse(answer);
    let told: handshake.ExportInfo | undefined;
    let blockSize: BlockSize | undefined;
    for (const { type, data } of answer.replies) {
      expectReply(option, type, wire.NBD_REP_INFO);
      const info = handshake.decodeInfo(data);
      if (info?.type === wire.NBD_INFO_EXPORT) told = info;
      if (info?.type === wire.NBD_INFO_BLOCK_SIZE) blockSize = info;
    }
    if (told === undefined) throw new WireError('the answer to GO lacks NBD_INFO_EXPORT');
    if (blockSize !== undefined) blockSize = checkBlockSize(blockSize, told.size);
    return agreement(told, { structured, contexts, blockSize });
  }

  async #exportNameOnly(
    noZeroes: boolean,
    structured: boolean,
    contexts: readonly handshake.MetaContext[],
  ): Promise<Agreement> {
    const name = Buffer.from(this.#exportName);
    this.#write(handshake.encodeOption(wire.NBD_OPT_EXPORT_NAME, name));
    const padding = noZeroes ? 0 : handshake.EXPORT_NAME_PADDING_BYTES;
    let reply: Buffer;
    try {
      reply = await this.#connection.read(handshake.EXPORT_NAME_REPLY_BYTES + padding);
    } catch (error) {
      // That is how this option is refused.
      const what = `${this.#connection.peer} closed the connection when asked for`;
      throw new ProtocolError(`${what} export "${this.#exportName}"`, { cause: error });
    }
    const told = handshake.decodeExportNameReply(reply);
    return agreement(told, { structured, contexts, blockSize: undefined });
  }

  /** Sends an option and collects what answers it. */
  async #ask(option: number, data?: Uint8Array): Promise<Answer> {
    this.#write(handshake.encodeOption(option, data));
    const replies: { type: number; data: Buffer }[] = [];
    for (;;) {
      const reply = await this.#readReply(option);
      if (reply.type === wire.NBD_REP_ACK || handshake.isErrorReply(reply.type)) {
        return { ...reply, replies };
      }
      if (replies.push(reply) > TARGET_OPTION_REPLIES_MAX) {
        throw new WireError(`the answer to ${nameOfOption(option)} does not end`);
      }
    }
  }

  async #readReply(option: number): Promise<{ type: number; data: Buffer }> {
    const header = handshake.decodeOptionReplyHeader(
      await this.#connection.read(handshake.OPTION_REPLY_HEADER_BYTES),
    );
    if (header.option !== option) {
      const answered = nameOfOption(header.option);
      throw new WireError(`the server answers ${answered} when asked ${nameOfOption(option)}`);
    }
    if (header.length > NBD_OPTION_BYTES_MAX) {
      throw new WireError(`the server announces ${header.length} bytes of an option reply`);
    }
    if (header.length === 0) return { type: header.type, data: Buffer.alloc(0) };
    return { type: header.type, data: await this.#connection.read(header.length) };
  }

  /** Takes leave of a server that said no. */
  #refuse(answer: Answer): never {
    this.#write(handshake.encodeOption(wire.NBD_OPT_ABORT));
    const message = decodeMessage(answer.data, wire.NBD_MAX_STRING);
    const reason = message === '' ? nameOfReply(answer.type) : message;
    const what =
      answer.type === wire.NBD_REP_ERR_TLS_REQD
        ? 'requires TLS, which is not supported'
        : `refuses export "${this.#exportName}"`;
    throw new ServerRefusal(`${this.#connection.peer} ${what}: ${reason}`);
  }

  #write(bytes: Uint8Array): void {
    this.#connection.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }
}

function expectReply(option: number, type: number, expected: number): void {
  if (type === expected) return;
  throw new WireError(`the server answers ${nameOfOption(option)} with ${nameOfReply(type)}`);
}

/** What the protocol demands; with less a disk would be copied byte by byte. */
function checkBlockSize({ minimum, preferred, maximum }: BlockSize, size: number): BlockSize {
  const preferredMin = Math.max(minimum, wire.NBD_MIN_PREFERRED_BLOCK);
  // Older texts let a disk that is smaller than the preferred size have a maximum of its own.
  const maximumMin = Math.max(minimum, Math.min(preferred, size));
  let wrong: string | undefined;
  if (!isPowerOfTwo(minimum) || minimum > wire.NBD_MAX_MIN_BLOCK) {
    wrong = `the minimum is no power of two up to ${wire.NBD_MAX_MIN_BLOCK}`;
  } else if (!isPowerOfTwo(preferred) || preferred < preferredMin) {
    wrong = `the preferred one is no power of two from ${preferredMin} on`;
  } else if (maximum < maximumMin) wrong = `the maximum is less than ${maximumMin}`;
  if (wrong !== undefined) {
    const told = `block sizes of ${minimum}, ${preferred}, ${maximum} bytes`;
    throw new WireError(`${told} make no sense: ${wrong}`);
  }
  return { minimum, preferred, maximum };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

function agreement(
  told: handshake.ExportInfo,
  rest: Omit<Agreement, 'size' | 'abilities'>,
): Agreement {
  const { size, flags } = told;
  if ((flags & wire.NBD_FLAG_HAS_FLAGS) === 0) {
    throw new WireError('the flags of the export lack NBD_FLAG_HAS_FLAGS');
  }
  const { minimum } = rest.blockSize ?? { minimum: 1 };
  if (size % minimum !== 0) {
    const block = `its minimum block size of ${minimum}`;
    throw new WireError(`the export's ${size} bytes are not a multiple of ${block}`);
  }
  return { size, abilities: abilitiesOf(flags), ...rest };
}

function abilitiesOf(flags: number): Abilities {
  const has = (flag: number) => (flags & flag) !== 0;
  const writeZeroes = has(wire.NBD_FLAG_SEND_WRITE_ZEROES);
  return {
    readOnly: has(wire.NBD_FLAG_READ_ONLY),
    flush: has(wire.NBD_FLAG_SEND_FLUSH),
    fua: has(wire.NBD_FLAG_SEND_FUA),
    trim: has(wire.NBD_FLAG_SEND_TRIM),
    writeZeroes,
    fastZero: writeZeroes && has(wire.NBD_FLAG_SEND_FAST_ZERO),
    cache: has(wire.NBD_FLAG_SEND_CACHE),
  };
}
