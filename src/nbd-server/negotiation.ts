import { encodeMessage, WireError } from '../../protocol/nbd/bytes.ts';
import * as wire from '../../protocol/nbd/constants.ts';
import * as handshake from '../../protocol/nbd/handshake.ts';
import { nameOfOption } from '../../protocol/nbd/names.ts';
import type { Connection } from '../net/connection.ts';
import { ProtocolError } from '../util/errors.ts';
import {
  NBD_HANDSHAKE_UNSENT_BYTES_MAX,
  NBD_OPTION_BYTES_MAX,
  NBD_OPTION_SWALLOW_BYTES_MAX,
  NBD_OPTIONS_MAX,
  NBD_OPTIONS_PER_EXPORT_MAX,
  NBD_PAYLOAD_BYTES_MAX,
} from '../util/limits.ts';
import type { NbdExport } from './export.ts';
import { queryMatches, type SelectedContext } from './meta-context.ts';

/**
 * The handshake with one client: fixed newstyle, every option answered. The client asks one option
 * after the other until it enters transmission, gives up, or has asked too often.
 *
 * Options are a table: what an option does to the session, and whether it may carry data. A handler
 * that is given nonsense throws `WireError` (or `OptionError` with a reply type of its own); the
 * client gets the error and goes on asking.
 */

/** What client and server agreed on. */
export interface Agreement {
  readonly export: NbdExport;
  readonly structured: boolean;
  readonly contexts: readonly SelectedContext[];
}

/** What the handshake needs to know of the server. */
export interface NegotiationHost {
  /** The exports that a client may see now. */
  exports(): readonly NbdExport[];
  readonly multiConn: boolean;
  readonly shuttingDown: boolean;
}

/** An error reply other than ERR_INVALID. */
class OptionError extends Error {
  override readonly name = 'OptionError';
  readonly reply: number;

  constructor(reply: number, message: string) {
    super(message);
    this.reply = reply;
  }
}

/** What becomes of the session after an option: it goes on, ends, or enters transmission. */
type Outcome = Agreement | 'go on' | 'end';

interface OptionRule {
  readonly handle: (session: Negotiation, data: Buffer) => Outcome;
  readonly takesData: boolean;
}

const OPTIONS: Readonly<Record<number, OptionRule>> = {
  [wire.NBD_OPT_ABORT]: { handle: (session) => session.abort(), takesData: true },
  [wire.NBD_OPT_LIST]: { handle: (session) => session.list(), takesData: false },
  [wire.NBD_OPT_STARTTLS]: { handle: () => refuseTls(), takesData: false },
  [wire.NBD_OPT_INFO]: { handle: (session, data) => session.info(data), takesData: true },
  [wire.NBD_OPT_GO]: { handle: (session, data) => session.go(data), takesData: true },
  [wire.NBD_OPT_STRUCTURED_REPLY]: {
    handle: (session) => session.structuredReply(),
    takesData: false,
  },
  [wire.NBD_OPT_LIST_META_CONTEXT]: {
    handle: (session, data) => session.listMetaContext(data),
    takesData: true,
  },
  [wire.NBD_OPT_SET_META_CONTEXT]: {
    handle: (session, data) => session.setMetaContext(data),
    takesData: true,
  },
};

/**
 * Resolves to what was agreed, or to nothing when the client went away in order. Rejects with
 * `ProtocolError` when it broke the protocol or asked for what it cannot have by EXPORT_NAME.
 */
export function negotiate(
  connection: Connection,
  host: NegotiationHost,
): Promise<Agreement | undefined> {
  return new Negotiation(connection, host).run();
}

class Negotiation {
  readonly #connection: Connection;
  readonly #host: NegotiationHost;
  #noZeroes = false;
  #structured = false;
  /** The latest SET_META_CONTEXT: it counts for the export that it named. */
  #selection: { export: NbdExport; contexts: readonly SelectedContext[] } | undefined;
  /** The option being answered, and its replies: they go out together. */
  #option = 0;
  #replies: Uint8Array[] = [];

  constructor(connection: Connection, host: NegotiationHost) {
    this.#connection = connection;
    this.#host = host;
  }

  async run(): Promise<Agreement | undefined> {
    const offered = wire.NBD_FLAG_FIXED_NEWSTYLE | wire.NBD_FLAG_NO_ZEROES;
    this.#connection.write(Buffer.from(handshake.encodeGreeting(offered)));
    const flagBytes = await this.#connection.read(handshake.CLIENT_FLAGS_BYTES);
    const flags = handshake.decodeClientFlags(flagBytes);
    if ((flags & ~offered) !== 0) throw new ProtocolError(`Unknown client flags ${flags}`);
    this.#noZeroes = (flags & wire.NBD_FLAG_C_NO_ZEROES) !== 0;
    for (let count = 0; count < this.#optionsMax(); count++) {
      const outcome = await this.#nextOption();
      this.#sendReplies();
      if (outcome === 'end') return undefined;
      if (outcome !== 'go on') return outcome;
    }
    throw new ProtocolError(`No agreement after ${this.#optionsMax()} options`);
  }

  #optionsMax(): number {
    return NBD_OPTIONS_MAX + NBD_OPTIONS_PER_EXPORT_MAX * this.#host.exports().length;
  }

  async #nextOption(): Promise<Outcome> {
    const header = await this.#connection.read(handshake.OPTION_HEADER_BYTES);
    const { option, length } = decodeHeader(header);
    this.#option = option;
    if (length > NBD_OPTION_BYTES_MAX) return this.#skipOption(length);
    const data = await this.#connection.read(length);
    if (option === wire.NBD_OPT_EXPORT_NAME) return this.#exportName(data);
    try {
      return this.#handle(data);
    } catch (error) {
      if (error instanceof WireError) this.#refuse(wire.NBD_REP_ERR_INVALID, error.message);
      else if (error instanceof OptionError) this.#refuse(error.reply, error.message);
      else throw error;
      return 'go on';
    }
  }

  #handle(data: Buffer): Outcome {
    const option = this.#option;
    const rule = OPTIONS[option];
    if (rule === undefined) {
      throw new OptionError(wire.NBD_REP_ERR_UNSUP, `${nameOfOption(option)} is not supported`);
    }
    if (this.#host.shuttingDown && option !== wire.NBD_OPT_ABORT) {
      throw new OptionError(wire.NBD_REP_ERR_SHUTDOWN, 'the server is shutting down');
    }
    if (data.length > 0 && !rule.takesData) {
      throw new WireError(`${nameOfOption(option)} takes no data, but ${data.length} bytes came`);
    }
    return rule.handle(this, data);
  }

  /** Data that is longer than any option needs is not kept. */
  async #skipOption(length: number): Promise<Outcome> {
    const name = nameOfOption(this.#option);
    const what = `${name} with ${length} bytes of data`;
    if (length > NBD_OPTION_SWALLOW_BYTES_MAX || this.#option === wire.NBD_OPT_EXPORT_NAME) {
      throw new ProtocolError(what);
    }
    for (let left = length; left > 0; left -= NBD_OPTION_BYTES_MAX) {
      await this.#connection.read(Math.min(left, NBD_OPTION_BYTES_MAX));
    }
    if (this.#option === wire.NBD_OPT_ABORT) return this.abort();
    if (this.#option === wire.NBD_OPT_SET_META_CONTEXT) this.#selection = undefined;
    this.#refuse(wire.NBD_REP_ERR_TOO_BIG, what);
    return 'go on';
  }

  /** The option of old clients: there is no way to refuse but to close. */
  #exportName(data: Buffer): Outcome {
    const name = this.#decodeExportName(data);
    const found = this.#host.shuttingDown ? undefined : this.#find(name);
    if (found === undefined) throw new ProtocolError(`No export named "${name}"`);
    const info = { size: found.size, flags: this.#flags(found) };
    this.#replies.push(handshake.encodeExportNameReply(info, !this.#noZeroes));
    return this.#agree(found);
  }

  #decodeExportName(data: Buffer): string {
    try {
      return handshake.decodeExportName(data);
    } catch (error) {
      if (error instanceof WireError) throw new ProtocolError(error.message, { cause: error });
      throw error;
    }
  }

  abort(): Outcome {
    this.#reply(wire.NBD_REP_ACK);
    return 'end';
  }

  list(): Outcome {
    for (const { name, description } of this.#host.exports()) {
      this.#reply(wire.NBD_REP_SERVER, handshake.encodeListedExport({ name, description }));
    }
    return this.#acknowledge();
  }

  structuredReply(): Outcome {
    this.#structured = true;
    return this.#acknowledge();
  }

  info(data: Buffer): Outcome {
    this.#describe(data);
    return this.#acknowledge();
  }

  go(data: Buffer): Outcome {
    const found = this.#describe(data);
    this.#reply(wire.NBD_REP_ACK);
    return this.#agree(found);
  }

  /** Whatever becomes of it, the earlier selection is gone. */
  setMetaContext(data: Buffer): Outcome {
    this.#selection = undefined;
    const { queries, found } = this.#metaContextRequest(data);
    const contexts = found.contexts
      .map((context, id) => ({ id, context }))
      .filter(({ context }) => queries.includes(context.name));
    for (const { id, context } of contexts) this.#replyContext(id, context.name);
    this.#selection = { export: found, contexts };
    return this.#acknowledge();
  }

  listMetaContext(data: Buffer): Outcome {
    const { queries, found } = this.#metaContextRequest(data);
    for (const { name } of found.contexts) {
      const wanted = queries.length === 0 || queries.some((query) => queryMatches(query, name));
      if (wanted) this.#replyContext(0, name);
    }
    return this.#acknowledge();
  }

  #metaContextRequest(data: Buffer): handshake.MetaContextRequest & { found: NbdExport } {
    if (!this.#structured) throw new WireError('metadata contexts need structured replies');
    const request = handshake.decodeMetaContextRequest(data);
    return { ...request, found: this.#findOrRefuse(request.exportName) };
  }

  /** Replies with all that INFO and GO tell of an export. */
  #describe(data: Buffer): NbdExport {
    const { exportName, infos } = handshake.decodeGoRequest(data);
    const found = this.#findOrRefuse(exportName);
    const { name, description, size } = found;
    this.#replyInfo({ type: wire.NBD_INFO_EXPORT, size, flags: this.#flags(found) });
    if (infos.includes(wire.NBD_INFO_NAME)) this.#replyInfo({ type: wire.NBD_INFO_NAME, name });
    if (infos.includes(wire.NBD_INFO_DESCRIPTION) && description !== '') {
      this.#replyInfo({ type: wire.NBD_INFO_DESCRIPTION, description });
    }
    this.#replyInfo({
      type: wire.NBD_INFO_BLOCK_SIZE,
      minimum: 1,
      preferred: Math.min(
        Math.max(wire.NBD_DEFAULT_PREFERRED_BLOCK, found.node.limits.preferredBytes),
        NBD_PAYLOAD_BYTES_MAX,
      ),
      maximum: NBD_PAYLOAD_BYTES_MAX,
    });
    return found;
  }

  #agree(found: NbdExport): Agreement {
    // Another one may have its name by now.
    const contexts = this.#selection?.export === found ? this.#selection.contexts : [];
    return { export: found, structured: this.#structured, contexts };
  }

  #flags(found: NbdExport): number {
    const { multiConn } = this.#host;
    return found.transmissionFlags({ structured: this.#structured, multiConn });
  }

  #find(name: string): NbdExport | undefined {
    return this.#host.exports().find((one) => one.name === name);
  }

  #findOrRefuse(name: string): NbdExport {
    const found = this.#find(name);
    if (found !== undefined) return found;
    throw new OptionError(wire.NBD_REP_ERR_UNKNOWN, `there is no export named "${name}"`);
  }

  #acknowledge(): Outcome {
    this.#reply(wire.NBD_REP_ACK);
    return 'go on';
  }

  #replyInfo(info: handshake.Info): void {
    this.#reply(wire.NBD_REP_INFO, handshake.encodeInfo(info));
  }

  #replyContext(id: number, name: string): void {
    this.#reply(wire.NBD_REP_META_CONTEXT, handshake.encodeMetaContext({ id, name }));
  }

  /** An error is the only reply to its option. */
  #refuse(type: number, message: string): void {
    this.#replies = [];
    this.#reply(type, encodeMessage(message, wire.NBD_MAX_STRING));
  }

  #reply(type: number, data?: Uint8Array): void {
    this.#replies.push(handshake.encodeOptionReply(this.#option, type, data));
  }

  /** What lies about of earlier ones is looked at: the client cannot have taken these yet. */
  #sendReplies(): void {
    if (this.#connection.unsentBytes > NBD_HANDSHAKE_UNSENT_BYTES_MAX) {
      throw new ProtocolError('the client takes no replies');
    }
    this.#connection.write(Buffer.concat(this.#replies));
    this.#replies = [];
  }
}

function refuseTls(): never {
  throw new OptionError(wire.NBD_REP_ERR_POLICY, 'TLS not configured');
}

function decodeHeader(header: Buffer): handshake.OptionHeader {
  try {
    return handshake.decodeOptionHeader(header);
  } catch (error) {
    if (error instanceof WireError) throw new ProtocolError(error.message, { cause: error });
    throw error;
  }
}
