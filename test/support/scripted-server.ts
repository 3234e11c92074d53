import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import * as wire from '../../protocol/nbd/constants.ts';
import * as handshake from '../../protocol/nbd/handshake.ts';
import { nameOfCommand } from '../../protocol/nbd/names.ts';
import * as transmission from '../../protocol/nbd/transmission.ts';
import type { UnixAddress } from '../../src/net/address.ts';
import { MiB } from '../../src/util/limits.ts';
import { currentScope, tempDir } from './peers.ts';

/**
 * An NBD server that does exactly what its script says, to each connection in turn: above all what
 * no server should do. `serve` is what a good one does; scripts break single steps of it.
 */
export type Script = (peer: ScriptedPeer, connection: number) => Promise<void>;

export interface ScriptedServer {
  readonly address: UnixAddress;
  /** Connections taken so far. */
  readonly connections: number;
  /** Cuts every connection. */
  cut(): void;
}

export async function startScriptedServer(script: Script): Promise<ScriptedServer> {
  const path = join(await tempDir(), 'nbd.sock');
  const sockets = new Set<Socket>();
  /** What scripts failed with, other than by the client's going. */
  const failures: unknown[] = [];
  let connections = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    const peer = new ScriptedPeer(socket);
    void script(peer, connections++)
      .catch((error: unknown) => {
        if (!(error instanceof ClientGone)) failures.push(error);
      })
      .finally(() => socket.end());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  currentScope().onClose(async () => {
    server.close();
    cut();
    if (failures.length > 0) throw new AggregateError(failures, `a script: ${failures.join('; ')}`);
  });
  return {
    address: { type: 'unix', path },
    cut,
    get connections() {
      return connections;
    },
  };
}

export class ClientGone extends Error {}

export interface ScriptedRequest extends transmission.RequestHeader {
  readonly payload: Buffer;
}

/** `WRITE 0+512 flags 1`. */
export function wordsOf({ type, offset, length, flags }: ScriptedRequest): string {
  const name = nameOfCommand(type).replace('NBD_CMD_', '');
  return `${name} ${offset}+${length}${flags === 0 ? '' : ` flags ${flags}`}`;
}

export interface ScriptedExport {
  readonly size: number;
  readonly flags: number;
  readonly structured: boolean;
  readonly contexts: readonly handshake.MetaContext[];
  readonly blockSize?: { minimum: number; preferred: number; maximum: number };
}

export const EVERY_FLAG =
  wire.NBD_FLAG_HAS_FLAGS |
  wire.NBD_FLAG_SEND_FLUSH |
  wire.NBD_FLAG_SEND_FUA |
  wire.NBD_FLAG_SEND_TRIM |
  wire.NBD_FLAG_SEND_WRITE_ZEROES |
  wire.NBD_FLAG_SEND_FAST_ZERO |
  wire.NBD_FLAG_SEND_CACHE;

export const GOOD_EXPORT: ScriptedExport = {
  size: 4 * MiB,
  flags: EVERY_FLAG,
  structured: true,
  contexts: [{ id: 7, name: 'base:allocation' }],
};

export class ScriptedPeer {
  readonly #socket: Socket;
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #gone = false;
  #wake: (() => void) | undefined;
  structured = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.#received.push(chunk);
      this.#receivedBytes += chunk.length;
      this.#wake?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => this.#onGone());
    socket.on('end', () => this.#onGone());
  }

  /** Rejects with `ClientGone` when the client leaves first. */
  async read(bytes: number): Promise<Buffer> {
    while (this.#receivedBytes < bytes) {
      if (this.#gone) throw new ClientGone();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const all = this.#received.length === 1 ? this.#received[0]! : Buffer.concat(this.#received);
    this.#received = [all.subarray(bytes)];
    this.#receivedBytes -= bytes;
    return all.subarray(0, bytes);
  }

  write(...parts: Uint8Array[]): void {
    this.#socket.write(Buffer.concat(parts));
  }

  /** Sends what was written and then ends the connection. */
  end(): void {
    this.#socket.end();
  }

  /** Takes everything and says nothing. */
  async forever(onBytes: (bytes: number) => void = () => {}): Promise<never> {
    for (;;) onBytes((await this.read(Math.max(1, this.#receivedBytes))).length);
  }

  async greet(flags = 3): Promise<number> {
    this.write(handshake.encodeGreeting(flags));
    return handshake.decodeClientFlags(await this.read(handshake.CLIENT_FLAGS_BYTES));
  }

  async option(): Promise<{ option: number; data: Buffer }> {
    const header = handshake.decodeOptionHeader(await this.read(handshake.OPTION_HEADER_BYTES));
    return { option: header.option, data: await this.read(header.length) };
  }

  /** The next option, which is expected to be this one. */
  async expectOption(option: number): Promise<Buffer> {
    const next = await this.option();
    if (next.option !== option) throw new Error(`option ${next.option} instead of ${option}`);
    return next.data;
  }

  reply(option: number, type: number, data?: Uint8Array): void {
    this.write(handshake.encodeOptionReply(option, type, data));
  }

  /** Greets and answers options as a good server, up to the first request. */
  async negotiate(disk: ScriptedExport = GOOD_EXPORT): Promise<void> {
    await this.greet();
    await this.answerStructured(disk.structured);
    if (disk.structured) await this.answerContexts(disk.contexts);
    await this.answerGo(disk);
  }

  async answerStructured(structured: boolean): Promise<void> {
    const option = wire.NBD_OPT_STRUCTURED_REPLY;
    await this.expectOption(option);
    this.reply(option, structured ? wire.NBD_REP_ACK : wire.NBD_REP_ERR_UNSUP);
    this.structured = structured;
  }

  async answerContexts(contexts: readonly handshake.MetaContext[]): Promise<void> {
    const option = wire.NBD_OPT_SET_META_CONTEXT;
    await this.expectOption(option);
    for (const context of contexts) {
      this.reply(option, wire.NBD_REP_META_CONTEXT, handshake.encodeMetaContext(context));
    }
    this.reply(option, wire.NBD_REP_ACK);
  }

  async answerGo(disk: ScriptedExport): Promise<void> {
    const option = wire.NBD_OPT_GO;
    await this.expectOption(option);
    const { size, flags, blockSize } = disk;
    const info = { type: wire.NBD_INFO_EXPORT, size, flags } as const;
    this.reply(option, wire.NBD_REP_INFO, handshake.encodeInfo(info));
    if (blockSize !== undefined) {
      const limits = { type: wire.NBD_INFO_BLOCK_SIZE, ...blockSize } as const;
      this.reply(option, wire.NBD_REP_INFO, handshake.encodeInfo(limits));
    }
    this.reply(option, wire.NBD_REP_ACK);
  }

  async request(): Promise<ScriptedRequest> {
    const header = transmission.newRequestHeader();
    const bytes = await this.read(transmission.REQUEST_BYTES);
    if (!transmission.readRequest(bytes, 0, header)) throw new Error('no request');
    const payload = header.type === wire.NBD_CMD_WRITE ? header.length : 0;
    return { ...header, payload: await this.read(payload) };
  }

  simple(request: transmission.RequestHeader, error: number, data?: Uint8Array): void {
    this.write(simpleReply(request, error), data ?? Buffer.alloc(0));
  }

  chunk(request: transmission.RequestHeader, type: number, payload: Uint8Array, done = true): void {
    this.write(chunkHeader(request, type, payload.length, done), payload);
  }

  data(request: transmission.RequestHeader, offset: number, data: Uint8Array, done = true): void {
    this.chunk(request, wire.NBD_REPLY_TYPE_OFFSET_DATA, dataPayload(offset, data), done);
  }

  /** Ends a good reply to any request, reading as `byte`. */
  answer(request: ScriptedRequest, byte = 0): void {
    if (request.type === wire.NBD_CMD_READ && this.structured) {
      this.data(request, request.offset, Buffer.alloc(request.length, byte));
    } else if (request.type === wire.NBD_CMD_READ) {
      this.simple(request, 0, Buffer.alloc(request.length, byte));
    } else {
      this.simple(request, 0);
    }
  }

  /** Answers requests well until the client says goodbye. */
  async serve(onRequest: (request: ScriptedRequest) => void = () => {}): Promise<void> {
    for (;;) {
      const request = await this.request();
      onRequest(request);
      if (request.type === wire.NBD_CMD_DISC) return;
      this.answer(request);
    }
  }

  #onGone(): void {
    this.#gone = true;
    this.#wake?.();
  }
}

type Cookie = Pick<transmission.RequestHeader, 'cookieHigh' | 'cookieLow'>;

export function simpleReply(cookie: Cookie, error: number): Buffer {
  const bytes = Buffer.alloc(transmission.SIMPLE_REPLY_BYTES);
  transmission.writeSimpleReply(bytes, 0, { ...cookie, error });
  return bytes;
}

export function chunkHeader(cookie: Cookie, type: number, length: number, done = true): Buffer {
  const bytes = Buffer.alloc(transmission.CHUNK_HEADER_BYTES);
  const { cookieHigh, cookieLow } = cookie;
  const flags = done ? wire.NBD_REPLY_FLAG_DONE : 0;
  transmission.writeChunkHeader(bytes, 0, { flags, type, cookieHigh, cookieLow, length });
  return bytes;
}

export function dataPayload(offset: number, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(8 + data.length);
  transmission.writeDataOffset(bytes, 0, offset);
  bytes.set(data, 8);
  return bytes;
}

export function holePayload(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(transmission.OFFSET_HOLE_BYTES);
  transmission.writeHole(bytes, 0, offset, length);
  return bytes;
}

export function statusPayload(contextId: number, ...extents: [length: number, flags: number][]) {
  const bytes = Buffer.alloc(transmission.blockStatusBytes(extents.length));
  const described = extents.map(([length, flags]) => ({ length, flags }));
  transmission.writeBlockStatus(bytes, 0, { contextId, extents: described });
  return bytes;
}
