import { connect, type Socket } from 'node:net';
import * as wire from '../../protocol/nbd/constants.ts';
import * as handshake from '../../protocol/nbd/handshake.ts';
import {
  decodeErrorChunk,
  newChunkHeader,
  type RequestHeader,
  readChunkHeader,
  replyMagic,
  writeRequest,
} from '../../protocol/nbd/transmission.ts';

/**
 * An NBD client that does what a test tells it, right or wrong, byte by byte: it checks nothing and
 * hides nothing.
 */
export interface OptionReply {
  type: number;
  data: Buffer;
}

export interface Reply {
  cookie: number;
  /** Of a simple reply or an ERROR chunk. */
  error: number;
  message: string;
  structured: boolean;
  /** Payloads of the chunks, or the data of a simple reply to a READ. */
  chunks: { type: number; payload: Buffer }[];
}

export class RawNbdClient {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  static connect(where: { path: string } | { port: number }): Promise<RawNbdClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...where, allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RawNbdClient(socket)));
    });
  }

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#received.push(chunk);
      this.#receivedBytes += chunk.length;
      this.#wake?.();
    });
    const onEnd = () => {
      this.#ended = true;
      this.#wake?.();
    };
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    socket.on('error', onEnd);
  }

  send(...parts: (Uint8Array | string)[]): void {
    this.socket.write(Buffer.concat(parts.map((part) => Buffer.from(part as Uint8Array))));
  }

  /** The next `bytes` bytes; fails when the server ends before. */
  async receive(bytes: number): Promise<Buffer> {
    while (this.#receivedBytes < bytes) {
      if (this.#ended) throw new Error(`the server ended after ${this.#receivedBytes} bytes`);
      await this.#more();
    }
    const all = this.#all();
    this.#keep(all.subarray(bytes));
    return all.subarray(0, bytes);
  }

  /** Everything until the server ends its side. */
  async untilEnd(): Promise<Buffer> {
    while (!this.#ended) await this.#more();
    return this.#all();
  }

  close(): void {
    this.socket.destroy();
  }

  /** Greeting and client flags; returns the server's handshake flags. */
  async greet(flags = 3): Promise<number> {
    const greeting = handshake.decodeGreeting(await this.receive(handshake.GREETING_BYTES));
    this.send(handshake.encodeClientFlags(flags));
    return greeting.flags;
  }

  /** Sends an option and collects its replies, up to and including the final one. */
  option(option: number, data?: Uint8Array): Promise<OptionReply[]> {
    this.send(handshake.encodeOption(option, data));
    return this.optionReplies();
  }

  async optionReplies(): Promise<OptionReply[]> {
    const replies: OptionReply[] = [];
    for (;;) {
      const header = handshake.decodeOptionReplyHeader(
        await this.receive(handshake.OPTION_REPLY_HEADER_BYTES),
      );
      replies.push({ type: header.type, data: await this.receive(header.length) });
      if (header.type === wire.NBD_REP_ACK || handshake.isErrorReply(header.type)) return replies;
    }
  }

  /** Enters transmission; `structured` with base:allocation selected. */
  async go(options: { name?: string; structured?: boolean; contexts?: string[] } = {}) {
    const { name: exportName = '', structured = false, contexts = [] } = options;
    await this.greet();
    if (structured) await this.option(wire.NBD_OPT_STRUCTURED_REPLY);
    if (contexts.length > 0) {
      const request = handshake.encodeMetaContextRequest({ exportName, queries: contexts });
      await this.option(wire.NBD_OPT_SET_META_CONTEXT, request);
    }
    return this.option(wire.NBD_OPT_GO, handshake.encodeGoRequest({ exportName, infos: [] }));
  }

  request(request: Partial<RequestHeader>, payload: Uint8Array | string = ''): void {
    this.send(encodeRequest(request), payload);
  }

  /** The next whole reply; `dataBytes` of data follow a simple reply without an error. */
  async reply(dataBytes = 0): Promise<Reply> {
    const magic = replyMagic(await this.#peek(4), 0);
    if (magic === wire.NBD_SIMPLE_REPLY_MAGIC) return this.#simpleReply(dataBytes);
    const reply: Reply = { cookie: 0, error: 0, message: '', structured: true, chunks: [] };
    const header = newChunkHeader();
    do {
      if (!readChunkHeader(await this.receive(20), 0, header)) throw new Error('wrong magic');
      const payload = await this.receive(header.length);
      reply.cookie = header.cookieLow;
      if (header.type & wire.NBD_REPLY_TYPE_ERROR_BIT) {
        const { error, message } = decodeErrorChunk(payload, header.type);
        Object.assign(reply, { error, message });
      } else if (header.type !== wire.NBD_REPLY_TYPE_NONE) {
        reply.chunks.push({ type: header.type, payload });
      }
    } while ((header.flags & wire.NBD_REPLY_FLAG_DONE) === 0);
    return reply;
  }

  async #simpleReply(dataBytes: number): Promise<Reply> {
    const head = await this.receive(16);
    const error = head.readUInt32BE(4);
    const data = await this.receive(error === 0 ? dataBytes : 0);
    const chunks = data.length > 0 ? [{ type: 0, payload: data }] : [];
    return { cookie: head.readUInt32BE(12), error, message: '', structured: false, chunks };
  }

  async #peek(bytes: number): Promise<Buffer> {
    const data = await this.receive(bytes);
    this.#keep(Buffer.concat([data, this.#all()]));
    return data;
  }

  #all(): Buffer {
    return this.#received.length === 1 ? this.#received[0]! : Buffer.concat(this.#received);
  }

  #keep(rest: Buffer): void {
    this.#received = [rest];
    this.#receivedBytes = rest.length;
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

export function encodeRequest(request: Partial<RequestHeader>): Buffer {
  const bytes = Buffer.alloc(28);
  const nothing = { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 };
  writeRequest(bytes, 0, { ...nothing, ...request });
  return bytes;
}
