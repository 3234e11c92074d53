import { WireError } from '../../protocol/nbd/bytes.ts';
import * as wire from '../../protocol/nbd/constants.ts';
import { errnoOfError } from '../../protocol/nbd/errors.ts';
import { nameOfError } from '../../protocol/nbd/names.ts';
import { type BlockStatus, newRequestHeader } from '../../protocol/nbd/transmission.ts';
import { reasonOf, type SocketAddress } from '../net/address.ts';
import type { Connection } from '../net/connection.ts';
import type { OnUnixSocket } from '../net/descriptor.ts';
import { type DialOptions, dial } from '../net/dial.ts';
import { assert } from '../util/assert.ts';
import { BufferPool } from '../util/buffer-pool.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError, ProtocolError } from '../util/errors.ts';
import {
  NBD_HANDSHAKE_MS_MAX,
  OUTPUT_SLAB_BYTES,
  TARGET_GOODBYE_MS_MAX,
  TARGET_IN_FLIGHT_REQUESTS_MAX,
} from '../util/limits.ts';
import { type Agreement, negotiate } from './negotiate.ts';
import { Outbox, type Payload } from './outbox.ts';
import { ReplyReader } from './reply-reader.ts';
import { PendingRequest, type RequestFields } from './request.ts';
import { Silence } from './silence.ts';

/**
 * One connection to an NBD server: many requests at a time, answered in any order. A request costs
 * one object; those made in the same tick share a system call, and so do replies.
 *
 * Requests are of whole blocks, inside the disk, and no longer than the server's maximum: whoever
 * calls has seen to it (`NbdNode`). A buffer belongs to the client until its request has ended, but
 * for those that do not keep it (`Pending.keepsData`).
 *
 * The connection ends once, for one reason: somebody closed it, it broke, or the server broke the
 * rules. Then every request without an answer fails with `ConnectionLost`.
 */
export interface ConnectOptions {
  readonly address: SocketAddress;
  /** Empty for the default export. */
  readonly exportName: string;
  readonly clock: Clock;
  /** For the whole way to the first request; NBD_HANDSHAKE_MS_MAX by default. */
  readonly timeoutMs?: number;
  /** Gives up connecting. */
  readonly signal?: AbortSignal;
  /** As in `dial`. */
  readonly hotSockets?: DialOptions['hotSockets'];
  readonly onUnixSocket?: OnUnixSocket | undefined;
  /** Metadata contexts to ask for; `base:allocation` by default. */
  readonly contexts?: readonly string[];
  /** Who asks, for error messages, such as `node "target"`; the server's address by default. */
  readonly owner?: string;
  /** The server has requests and does nothing about them (`Silence`), or does again. */
  readonly onSilence?: (isSilent: boolean) => void;
}

export interface ZeroOptions {
  /** On stable storage before it is answered. */
  readonly fua?: boolean;
  /** Zeroes that take space, so that later writes find it. */
  readonly noHole?: boolean;
  /** Faster than by writing, or not at all: ENOTSUP. */
  readonly fast?: boolean;
}

/** What `base:allocation` says of so many bytes. */
export interface AllocationExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

/** A request failed because its connection ended; whether it was carried out is not known. */
export class ConnectionLost extends BlockError {}

export class NbdClient {
  /** Size, flags, limits and contexts. */
  readonly info: Agreement;
  /** The server's address, for people. */
  readonly peer: string;
  /** Resolves when the connection has ended: with the reason, or nothing after `close`. */
  readonly closed: Promise<Error | undefined>;

  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #owner: string;
  readonly #outbox: Outbox;
  readonly #reader: ReplyReader;
  readonly #silence: Silence;
  readonly #header = newRequestHeader();

  /** In flight, by the low half of their cookie. */
  readonly #slots: (PendingRequest | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  #nextSequence = 0;
  /** Wait for a slot, first come first served. */
  readonly #queue: PendingRequest[] = [];
  /** Answered, but the system still reads their payload. */
  readonly #lingering = new Set<PendingRequest>();

  /** Takes no more requests; ends when those in flight have been answered. */
  #closing = false;
  /** Why it has ended or is about to; undefined for `close`. */
  #endReason: Error | undefined;
  #ended = false;
  readonly #resolveClosed: (reason: Error | undefined) => void;

  /**
   * Dials and negotiates. Rejects with `DialError`, `ServerRefusal` or `ProtocolError`; their
   * messages name the server.
   */
  static async connect(options: ConnectOptions): Promise<NbdClient> {
    const { clock, signal, onUnixSocket, timeoutMs = NBD_HANDSHAKE_MS_MAX } = options;
    const deadline = clock.now() + timeoutMs;
    const connection = await dial(options.address, {
      clock,
      timeoutMs,
      hotSockets: options.hotSockets,
      ...(signal && { signal }),
      onUnixSocket,
    });
    let givenUp: string | undefined;
    const giveUp = (why: string) => {
      givenUp = why;
      connection.destroy();
    };
    const timer = clock.after(Math.max(0, deadline - clock.now()), () =>
      giveUp(`the handshake took longer than ${timeoutMs} ms`),
    );
    const onAbort = () => giveUp('the attempt was given up');
    signal?.addEventListener('abort', onAbort);
    try {
      if (signal?.aborted) onAbort();
      const contexts = options.contexts ?? [wire.NBD_META_BASE_ALLOCATION];
      const info = await negotiate(connection, options.exportName, contexts);
      return new NbdClient(connection, info, options);
    } catch (error) {
      leave(connection, clock);
      const failed = `Cannot negotiate with ${connection.peer}`;
      if (givenUp !== undefined) throw new ProtocolError(`${failed}: ${givenUp}`);
      if (error instanceof WireError) throw new ProtocolError(`${failed}: ${error.message}`);
      throw error;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  private constructor(connection: Connection, info: Agreement, options: ConnectOptions) {
    this.#connection = connection;
    this.#clock = options.clock;
    this.info = info;
    this.peer = connection.peer;
    this.#owner = options.owner ?? connection.peer;
    const pool = new BufferPool(2 * OUTPUT_SLAB_BYTES);
    this.#outbox = new Outbox(connection, pool, (request) => this.#onPayloadSent(request));
    for (let slot = TARGET_IN_FLIGHT_REQUESTS_MAX - 1; slot >= 0; slot--) {
      this.#slots.push(undefined);
      this.#freeSlots.push(slot);
    }
    const { onSilence = () => {} } = options;
    const watched = { pending: () => this.pending, traffic: () => connection.traffic };
    this.#silence = new Silence(options.clock, watched, onSilence);
    const { promise, resolve } = withResolvers<Error | undefined>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    const contextIds = info.contexts.map((context) => context.id);
    this.#reader = new ReplyReader(
      { structured: info.structured, contextIds },
      {
        find: (cookieHigh, cookieLow) => this.#find(cookieHigh, cookieLow),
        onAnswered: (request) => this.#onAnswered(request),
        onEnd: (error) => this.#onStreamEnd(error),
      },
    );
    void connection.closed.then((error) => {
      const reason = error === undefined ? 'the server closed it' : reasonOf(error);
      this.abort(new Error(`Connection to ${this.peer} was lost: ${reason}`, { cause: error }));
    });
    connection.takeOver(this.#reader);
  }

  /** Requests without an answer, sent or not, and those whose payload the system still reads. */
  get pending(): number {
    const inFlight = TARGET_IN_FLIGHT_REQUESTS_MAX - this.#freeSlots.length;
    return inFlight + this.#queue.length + this.#lingering.size;
  }

  /** For how long the server has answered nothing, though it has requests; as `Silence`. */
  get silentMs(): number | undefined {
    return this.#silence.ms;
  }

  /** Takes requests: it has not ended, and is not about to. */
  get isUsable(): boolean {
    return !this.#closing && !this.#ended;
  }

  /** Why it is not usable any more; undefined after `close`. */
  get endReason(): Error | undefined {
    return this.#endReason;
  }

  /** Fills the whole buffer. */
  read(offset: number, buffer: Buffer): Promise<void> {
    const { length } = buffer;
    return this.#request({ type: wire.NBD_CMD_READ, flags: 0, offset, length }, buffer);
  }

  /** `fua`: on stable storage before it is answered. */
  write(offset: number, data: Payload, fua = false): Promise<void> {
    const { length } = data;
    const flags = fua ? wire.NBD_CMD_FLAG_FUA : 0;
    return this.#request({ type: wire.NBD_CMD_WRITE, flags, offset, length }, data);
  }

  writeZeroes(offset: number, length: number, options: ZeroOptions = {}): Promise<void> {
    const flags =
      (options.fua ? wire.NBD_CMD_FLAG_FUA : 0) |
      (options.noHole ? wire.NBD_CMD_FLAG_NO_HOLE : 0) |
      (options.fast ? wire.NBD_CMD_FLAG_FAST_ZERO : 0);
    return this.#request({ type: wire.NBD_CMD_WRITE_ZEROES, flags, offset, length });
  }

  trim(offset: number, length: number, fua = false): Promise<void> {
    const flags = fua ? wire.NBD_CMD_FLAG_FUA : 0;
    return this.#request({ type: wire.NBD_CMD_TRIM, flags, offset, length });
  }

  flush(): Promise<void> {
    return this.#request({ type: wire.NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 });
  }

  cache(offset: number, length: number): Promise<void> {
    return this.#request({ type: wire.NBD_CMD_CACHE, flags: 0, offset, length });
  }

  /**
   * One list of extents a context, in any order; each begins at `offset`, and may end before or
   * after the end of the range. `one`: only the first extent of each.
   */
  blockStatus(offset: number, length: number, one = false): Promise<readonly BlockStatus[]> {
    const flags = one ? wire.NBD_CMD_FLAG_REQ_ONE : 0;
    assert(this.info.contexts.length > 0, 'the server has a metadata context');
    const request = this.#request({ type: wire.NBD_CMD_BLOCK_STATUS, flags, offset, length });
    return request.then(() => request.statuses!);
  }

  /**
   * The extents of the first context asked for, read as `base:allocation` (the dirty bit of a
   * dirty bitmap is its hole bit); none when the server does not have it.
   */
  async allocation(
    offset: number,
    length: number,
    one: boolean,
  ): Promise<readonly AllocationExtent[]> {
    const [context] = this.info.contexts;
    if (context === undefined) return [];
    const statuses = await this.blockStatus(offset, length, one);
    const status = statuses.find(({ contextId }) => contextId === context.id)!;
    return status.extents.map((extent) => ({
      length: extent.length,
      hole: (extent.flags & wire.NBD_STATE_HOLE) !== 0,
      zero: (extent.flags & wire.NBD_STATE_ZERO) !== 0,
    }));
  }

  /**
   * Lets the requests in flight finish, says goodbye, and resolves when the connection is closed. A
   * server that does not answer gets TARGET_GOODBYE_MS_MAX for it.
   */
  async close(): Promise<void> {
    this.#closing = true;
    const timer = this.#clock.after(TARGET_GOODBYE_MS_MAX, () =>
      this.abort(new Error(`${this.peer} did not answer in time for an orderly end`)),
    );
    this.#disconnectWhenIdle();
    await this.closed;
    timer.cancel();
  }

  /**
   * Ends the connection at once; requests without an answer fail with `ConnectionLost`, whose code
   * is that of the reason if it is a `BlockError`.
   */
  abort(reason: Error): void {
    this.#end(reason);
    this.#connection.destroy();
  }

  #request(fields: RequestFields, data?: Payload): PendingRequest {
    const request = new PendingRequest(fields, data);
    if (this.#closing || this.#ended) request.fail(this.#lost(request));
    else if (this.#freeSlots.length === 0) this.#queue.push(request);
    else this.#send(request);
    return request;
  }

  #send(request: PendingRequest): void {
    const slot = this.#freeSlots.pop()!;
    this.#slots[slot] = request;
    request.slot = slot;
    request.sequence = this.#nextSequence;
    this.#nextSequence = (this.#nextSequence + 1) >>> 0;
    const header = this.#header;
    header.type = request.type;
    header.flags = request.flags;
    header.cookieHigh = request.sequence;
    header.cookieLow = slot;
    header.offset = request.offset;
    header.length = request.length;
    this.#silence.requested();
    request.unsent = this.#outbox.send(header, request);
    request.keepsData = request.unsent || request.buffer !== undefined;
    // Nothing else is on its way that it could go out with, and the server waits for work.
    if (this.#freeSlots.length === TARGET_IN_FLIGHT_REQUESTS_MAX - 1) this.#outbox.flush();
  }

  #find(cookieHigh: number, cookieLow: number): PendingRequest | undefined {
    const request = this.#slots[cookieLow];
    return request?.sequence === cookieHigh ? request : undefined;
  }

  #onAnswered(request: PendingRequest): void {
    this.#silence.answered();
    this.#slots[request.slot] = undefined;
    this.#freeSlots.push(request.slot);
    if (request.failure?.error === wire.NBD_ESHUTDOWN && !this.#closing) this.#onShutdown();
    const next = this.#queue.shift();
    if (next !== undefined) this.#send(next);
    if (request.unsent) this.#lingering.add(request);
    else this.#settle(request);
    if (this.#closing) this.#disconnectWhenIdle();
  }

  /** The server goes down: what was not sent yet goes elsewhere, and it gets its goodbye soon. */
  #onShutdown(): void {
    this.#closing = true;
    this.#endReason = new Error(`${this.peer} is shutting down`);
    for (const queued of this.#queue.splice(0)) queued.fail(this.#lost(queued));
  }

  #onPayloadSent(request: PendingRequest): void {
    request.unsent = false;
    if (this.#lingering.delete(request)) this.#settle(request);
    if (this.#closing) this.#disconnectWhenIdle();
  }

  #settle(request: PendingRequest): void {
    const { failure } = request;
    if (failure === undefined) request.succeed();
    else if (failure.error === wire.NBD_ESHUTDOWN) request.fail(this.#lost(request));
    else {
      const said = failure.message === '' ? '' : ` (${failure.message})`;
      const answered = `${this.peer} answered ${nameOfError(failure.error)}${said}`;
      const code = errnoOfError(failure.error, request);
      request.fail(new BlockError(code, `${this.#cannot(request)}: ${answered}`));
    }
  }

  #disconnectWhenIdle(): void {
    if (this.#ended || this.pending > 0) return;
    this.#end(this.#endReason);
    const disc = this.#header;
    disc.type = wire.NBD_CMD_DISC;
    disc.flags = 0;
    disc.offset = 0;
    disc.length = 0;
    this.#outbox.sendAlone(disc);
    this.#outbox.flush();
    leave(this.#connection, this.#clock);
  }

  #onStreamEnd(error: WireError | undefined): void {
    if (error === undefined) {
      this.abort(new Error(`Connection to ${this.peer} was lost: the server closed it`));
    } else {
      this.abort(new ProtocolError(`${this.peer} broke the NBD protocol: ${error.message}`));
    }
  }

  #end(reason: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#endReason = reason;
    this.#reader.stop();
    this.#silence.stop();
    const lost = [...this.#slots, ...this.#lingering, ...this.#queue];
    this.#slots.fill(undefined);
    this.#lingering.clear();
    this.#queue.length = 0;
    for (const request of lost) request?.fail(this.#lost(request));
    void this.#connection.closed.then(() => this.#resolveClosed(reason));
  }

  #lost(request: PendingRequest): ConnectionLost {
    const reason = this.#endReason;
    const why = reason?.message ?? 'the connection was closed';
    const code = reason instanceof BlockError ? reason.code : 'EIO';
    return new ConnectionLost(code, `${this.#cannot(request)}: ${why}`, { cause: reason });
  }

  #cannot(request: PendingRequest): string {
    const verb = VERB[request.type];
    const range = request.length === 0 ? '' : ` ${request.length} bytes at ${request.offset}`;
    return `Cannot ${verb}${range} on ${this.#owner}`;
  }
}

const VERB: Readonly<Record<number, string>> = {
  [wire.NBD_CMD_READ]: 'read',
  [wire.NBD_CMD_WRITE]: 'write',
  [wire.NBD_CMD_FLUSH]: 'flush',
  [wire.NBD_CMD_TRIM]: 'discard',
  [wire.NBD_CMD_CACHE]: 'prefetch',
  [wire.NBD_CMD_WRITE_ZEROES]: 'zero',
  [wire.NBD_CMD_BLOCK_STATUS]: 'get the block status of',
};

/** Ends our side in order, and gives the server a moment to end its own. */
function leave(connection: Connection, clock: Clock): void {
  connection.end();
  const timer = clock.after(TARGET_GOODBYE_MS_MAX, () => connection.destroy());
  void connection.closed.then(() => timer.cancel());
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
