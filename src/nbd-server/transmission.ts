import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
} from '../../protocol/nbd/constants.ts';
import { newRequestHeader, REQUEST_BYTES, readRequest } from '../../protocol/nbd/transmission.ts';
import { ByteQueue } from '../net/byte-queue.ts';
import type { Connection } from '../net/connection.ts';
import type { ByteSink } from '../net/incoming.ts';
import type { ArrivingWrite } from '../util/arrived.ts';
import type { BufferPool } from '../util/buffer-pool.ts';
import type { Clock, Timer } from '../util/clock.ts';
import {
  BLOCK_STATUS_TURN_REQUESTS,
  CLIENT_IN_FLIGHT_BYTES_MAX,
  CLIENT_IN_FLIGHT_REQUESTS_MAX,
  CLIENT_TURN_REQUESTS_MAX,
  CLIENT_UNSENT_BYTES_MAX,
  DIRECT_RECEIVE_BYTES_MIN,
  DIRECT_WRITE_BYTES_MIN,
  NBD_PAYLOAD_BYTES_MAX,
  NBD_SWALLOW_BYTES_MAX,
  PAYLOAD_STALL_MS,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { DirectPayload } from './direct-payload.ts';
import type { Agreement } from './negotiation.ts';
import { Output, type ReplyConnection } from './output.ts';
import type { PayloadBudget, PayloadShare } from './payload-budget.ts';
import { Replies } from './replies.ts';
import { payloadBytes, Requests } from './requests.ts';
import { type Refusal, refusalOf, SHUTTING_DOWN, type Terms } from './validate.ts';

/**
 * The transmission phase of one client: bytes in, requests out, no promise in between.
 *
 * A request goes through four states: its header is collected; it waits until it may start (bounded
 * requests and bytes in flight, bounded replies that the client has not taken, a bounded number of
 * requests before others have their turn); a WRITE's payload is received, or swallowed when the
 * request was refused; then the next one follows. While a request waits nothing is read from the
 * socket, so that the client is held back by TCP and what we hold for it is bounded.
 *
 * In the common case (a request whole in what arrived, a disk that is done with it at once) header
 * and payload are used where they stand.
 */
type State = 'header' | 'waiting' | 'payload' | 'swallow' | 'closed';

/** What this needs of a connection. */
export type ServedConnection = ReplyConnection &
  Pick<Connection, 'take' | 'pause' | 'resume' | 'destroy'>;

export interface TransmissionOptions {
  readonly connection: ServedConnection;
  readonly agreement: Agreement;
  readonly pool: BufferPool;
  readonly budget: PayloadBudget;
  readonly clock: Clock;
  readonly log: Log;
  /** Everything was answered and sent; the connection may be ended. */
  readonly onFinished: () => void;
}

export class Transmission implements ByteSink {
  readonly #connection: ServedConnection;
  readonly #terms: Terms;
  readonly #pool: BufferPool;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #output: Output;
  readonly #replies: Replies;
  readonly #requests: Requests;
  readonly #share: PayloadShare;
  readonly #onFinished: () => void;

  #state: State = 'header';
  /** The request that is being received; used again for the next one. */
  readonly #request = newRequestHeader();
  /** A header that arrived in parts. */
  readonly #partialHeader = Buffer.alloc(REQUEST_BYTES);
  #partialBytes = 0;
  /** The last READ or WRITE was long: the next header is received alone. */
  #requestsAreLong = false;
  /** A payload that goes to the disk past our memory. */
  readonly #direct: DirectPayload;
  /** One that does not, and arrived in parts: in a pooled buffer that is at least as long. */
  #payload: Buffer | undefined;
  #payloadFilled = 0;
  #swallowBytes = 0;
  /**
   * The payload of the last WRITE was still needed when it had begun. Then that of the next one is
   * copied out of the chunk it came in: a copy costs less than a new slab for the socket to read
   * into.
   */
  #payloadsAreKept = false;
  /** Views into the chunk at hand are still in use. */
  #kept = false;
  #refusal: Refusal | undefined;

  /** What arrived while a request waited. */
  readonly #held = new ByteQueue();
  #stallWatch: Timer | undefined;
  /** The payload that was arriving at the last look, and up to where replies were to be sent. */
  #seenPayload: ArrivingWrite | undefined;
  #dueSentBytes = 0;
  #startedThisTurn = 0;
  #turn: Timer | undefined;
  #flushing: Timer | undefined;
  /** No more requests come: the client has said so, or has ended its side. */
  #inputEnded = false;
  #finished = false;
  #onSettled: (() => void) | undefined;

  constructor(options: TransmissionOptions) {
    const { connection, agreement, pool, log } = options;
    this.#connection = connection;
    this.#pool = pool;
    this.#clock = options.clock;
    this.#log = log;
    this.#onFinished = options.onFinished;
    this.#terms = {
      size: agreement.export.size,
      writable: agreement.export.writable,
      structured: agreement.structured,
      hasContexts: agreement.contexts.length > 0,
    };
    this.#output = new Output(connection, pool, () => this.#onSent());
    this.#share = options.budget.share(() => this.#proceed());
    this.#replies = new Replies(this.#output, agreement.structured);
    this.#requests = new Requests({
      export: agreement.export,
      contexts: agreement.contexts,
      output: this.#output,
      replies: this.#replies,
      pool,
      log,
      onFinished: () => this.#answered(),
      onBroken: (why) => this.#cut(why),
    });
    this.#direct = new DirectPayload(connection, this.#requests);
  }

  /** Resolves when nothing that the client asked for is in flight below. */
  settled(): Promise<void> {
    if (this.#requests.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onSettled = resolve;
    });
  }

  push(chunk: Buffer): boolean {
    if (this.#state === 'closed') return false;
    if (this.#held.length > 0 || this.#state === 'waiting') {
      this.#held.push(chunk);
      return true;
    }
    this.#startedThisTurn = 0;
    const kept = this.#consume(chunk);
    this.#output.flush();
    this.#finishIfDone();
    return kept;
  }

  room(): Buffer | undefined {
    if (this.#state === 'header') return this.#headerRoom();
    if (this.#state !== 'payload') return undefined;
    if (this.#payload === undefined) return this.#direct.room(this.#request);
    const { length } = this.#request;
    if (length - this.#payloadFilled < DIRECT_RECEIVE_BYTES_MIN) return undefined;
    return this.#payload.subarray(this.#payloadFilled, length);
  }

  filled(bytes: number): void {
    if (this.#state === 'header') this.#filledHeader(bytes);
    else if (this.#payload === undefined) {
      this.#direct.filled(bytes);
      this.#receive();
    } else {
      this.#payloadFilled += bytes;
      if (this.#payloadFilled < this.#request.length) return;
      this.#startReceivedWrite();
    }
    this.#output.flush();
    this.#finishIfDone();
  }

  end(): void {
    this.#inputEnded = true;
    this.#finishIfDone();
  }

  /** Refuses what comes from now on and finishes when what is in flight has been answered. */
  stop(): void {
    this.#requests.stopping = true;
    this.#inputEnded = true;
    this.#finishIfDone();
  }

  /** The connection is gone: nothing is started any more. */
  abandon(): void {
    this.#state = 'closed';
    this.#finished = true;
    this.#held.clear();
    this.#turn?.cancel();
    this.#flushing?.cancel();
    this.#stallWatch?.cancel();
    this.#direct.write.hasEnded = true;
    this.#share.leave();
    this.#settleShare();
  }

  /** Of a header alone when a long payload is likely to follow, which is not to come with it. */
  #headerRoom(): Buffer | undefined {
    if (!this.#requestsAreLong || this.#held.length > 0) return undefined;
    return this.#partialHeader.subarray(this.#partialBytes);
  }

  #filledHeader(bytes: number): void {
    this.#partialBytes += bytes;
    if (this.#partialBytes < REQUEST_BYTES) return;
    this.#partialBytes = 0;
    this.#startedThisTurn = 0;
    this.#decode(this.#partialHeader, 0);
    this.#consume(NOTHING);
  }

  /** Works through `chunk`; returns whether parts of it are still in use. */
  #consume(chunk: Buffer): boolean {
    this.#kept = false;
    let at = 0;
    for (;;) {
      if (this.#state === 'waiting') {
        if (!this.#mayStart()) {
          this.#held.unshift(chunk.subarray(at));
          this.#connection.pause();
          return true;
        }
        at = this.#start(chunk, at);
      }
      if (at === chunk.length || this.#state === 'closed') return this.#kept;
      if (this.#state === 'header') at = this.#takeHeader(chunk, at);
      else if (this.#state === 'payload') at = this.#takePayload(chunk, at);
      else if (this.#state === 'swallow') at = this.#swallow(chunk, at);
    }
  }

  #takeHeader(chunk: Buffer, at: number): number {
    if (this.#partialBytes === 0 && chunk.length - at >= REQUEST_BYTES) {
      this.#decode(chunk, at);
      return at + REQUEST_BYTES;
    }
    const missing = REQUEST_BYTES - this.#partialBytes;
    const taken = chunk.copy(this.#partialHeader, this.#partialBytes, at, at + missing);
    this.#partialBytes += taken;
    if (taken === missing) {
      this.#partialBytes = 0;
      this.#decode(this.#partialHeader, 0);
    }
    return at + taken;
  }

  /** After a wrong magic number nobody knows where the next request begins. */
  #decode(bytes: Buffer, at: number): void {
    if (readRequest(bytes, at, this.#request)) this.#state = 'waiting';
    else this.#cut('a request with a wrong magic number');
  }

  #mayStart(): boolean {
    if (this.#startedThisTurn >= CLIENT_TURN_REQUESTS_MAX) {
      this.#turn ??= this.#clock.defer(() => {
        this.#turn = undefined;
        this.#startedThisTurn = 0;
        this.#proceed();
      });
      return false;
    }
    // A request that is too long is refused, and never held.
    const bytes = Math.min(payloadBytes(this.#request), NBD_PAYLOAD_BYTES_MAX);
    if (this.#isBusy(bytes)) {
      // It is not the budget that this one waits for now: others go first.
      this.#share.leave();
      return false;
    }
    if (!this.#share.grow(this.#heldBytes() + bytes)) return false;
    if (this.#share.takenBytes > 0) this.#watchForStall();
    return true;
  }

  /** The client has as much as one client may have. */
  #isBusy(bytes: number): boolean {
    const { inFlight, inFlightBytes } = this.#requests;
    if (this.#output.unsentBytes >= CLIENT_UNSENT_BYTES_MAX) return true;
    if (inFlight === 0) return false;
    if (inFlight >= CLIENT_IN_FLIGHT_REQUESTS_MAX) return true;
    return inFlightBytes + bytes > CLIENT_IN_FLIGHT_BYTES_MAX;
  }

  /** Payload that is received, worked on, or waits for the client to take it. */
  #heldBytes(): number {
    const { inFlightBytes } = this.#requests;
    const receivedBytes = this.#state === 'payload' ? this.#request.length : 0;
    return inFlightBytes + receivedBytes + this.#output.unsentBytes;
  }

  #settleShare(): void {
    if (this.#share.takenBytes > 0) this.#share.settle(this.#heldBytes());
  }

  #watchForStall(): void {
    this.#stallWatch ??= this.#clock.after(PAYLOAD_STALL_MS, () => this.#lookForStall());
  }

  /** Nobody may keep from others what he does not use: a transfer is over by the second look. */
  #lookForStall(): void {
    this.#stallWatch = undefined;
    if (this.#share.takenBytes === 0) return;
    const payload = this.#state === 'payload' ? this.#direct.write : undefined;
    const { sentBytes, unsentBytes } = this.#output;
    const stillArrives = payload !== undefined && payload === this.#seenPayload;
    if ((stillArrives || sentBytes < this.#dueSentBytes) && this.#share.isWanted) {
      this.#cut(`it holds ${this.#share.takenBytes} bytes of payload still, and others wait`);
      return;
    }
    this.#seenPayload = payload;
    this.#dueSentBytes = sentBytes + unsentBytes;
    this.#watchForStall();
  }

  #onSent(): void {
    this.#settleShare();
    this.#proceed();
    this.#finishIfDone();
  }

  /** Starts the request whose payload, if it has one, begins at `at`; returns where to go on. */
  #start(chunk: Buffer, at: number): number {
    const request = this.#request;
    const { type, length } = request;
    this.#startedThisTurn += type === NBD_CMD_BLOCK_STATUS ? BLOCK_STATUS_TURN_REQUESTS : 1;
    this.#state = 'header';
    if (type === NBD_CMD_DISC) return this.#disconnect(chunk);
    if (type === NBD_CMD_READ || type === NBD_CMD_WRITE) {
      this.#requestsAreLong = length >= DIRECT_WRITE_BYTES_MIN;
    }
    const refusal = this.#requests.stopping ? SHUTTING_DOWN : refusalOf(request, this.#terms);
    if (type !== NBD_CMD_WRITE) {
      if (refusal === undefined) this.#requests.start(request);
      else this.#requests.refuse(request, refusal);
      this.#settleShare();
      return at;
    }
    if (refusal !== undefined) {
      this.#startSwallowing(refusal);
      this.#settleShare();
      return at;
    }
    if (chunk.length - at >= length && (length === 0 || !this.#payloadsAreKept)) {
      const payload = chunk.subarray(at, at + length);
      this.#payloadsAreKept = this.#requests.write(request, payload);
      if (this.#payloadsAreKept) this.#kept = true;
      this.#settleShare();
      return at + length;
    }
    this.#state = 'payload';
    this.#direct.begin();
    const nothingCame = at === chunk.length && this.#held.length === 0;
    if (this.#requestsAreLong && nothingCame) this.#receive();
    else this.#gather(NOTHING);
    return at;
  }

  /** Has what is there of a long payload written at once, past our memory, if that can be. */
  #receive(): void {
    const missing = this.#request;
    const rest = this.#direct.receive(missing);
    if (rest !== undefined) this.#gather(rest);
    else if (missing.length === 0) {
      this.#state = 'header';
      this.#direct.write.hasEnded = true;
      this.#requests.received(missing);
      this.#settleShare();
    }
  }

  /** The rest of a payload, which begins with `came`, has to come into our memory. */
  #gather(came: Buffer): void {
    this.#payload = this.#pool.take(this.#request.length);
    this.#payloadFilled = came.copy(this.#payload);
    if (this.#payloadFilled === this.#request.length) this.#startReceivedWrite();
  }

  #takePayload(chunk: Buffer, at: number): number {
    if (this.#payload === undefined) this.#gather(this.#direct.leave());
    const missing = this.#request.length - this.#payloadFilled;
    const taken = chunk.copy(this.#payload!, this.#payloadFilled, at, at + missing);
    this.#payloadFilled += taken;
    if (taken === missing) this.#startReceivedWrite();
    return at + taken;
  }

  #startReceivedWrite(): void {
    const pooled = this.#payload!;
    this.#payload = undefined;
    this.#state = 'header';
    const { length } = this.#request;
    const data = length === pooled.length ? pooled : pooled.subarray(0, length);
    const { write } = this.#direct;
    this.#payloadsAreKept = this.#requests.write(this.#request, data, () => {
      this.#pool.give(pooled);
      write.hasEnded = true;
    });
    this.#settleShare();
  }

  /** The payload of a refused WRITE comes all the same; without it the stream is out of step. */
  #startSwallowing(refusal: Refusal): void {
    const { length } = this.#request;
    if (length > NBD_SWALLOW_BYTES_MAX) {
      this.#cut(`a WRITE of ${length} bytes`);
      return;
    }
    this.#refusal = refusal;
    this.#swallowBytes = length;
    this.#state = 'swallow';
    if (length === 0) this.#endSwallowing();
  }

  #swallow(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#swallowBytes, chunk.length - at);
    this.#swallowBytes -= taken;
    if (this.#swallowBytes === 0) this.#endSwallowing();
    return at + taken;
  }

  #endSwallowing(): void {
    this.#state = 'header';
    this.#requests.refuse(this.#request, this.#refusal!);
  }

  /** DISC: what is in flight is finished, nothing may follow. */
  #disconnect(chunk: Buffer): number {
    this.#state = 'closed';
    this.#inputEnded = true;
    this.#held.clear();
    return chunk.length;
  }

  /** There is no way back into step, or others wait for what the client holds. */
  #cut(why: string): void {
    this.#log.warn({ reason: why }, 'NBD client was cut off');
    this.abandon();
    this.#connection.destroy();
  }

  /** A request that took its time has been answered: its reply waits for others of its turn. */
  #answered(): void {
    this.#settleShare();
    if (this.#requests.inFlight === 0) {
      this.#output.flush();
    } else {
      this.#flushing ??= this.#clock.defer(() => {
        this.#flushing = undefined;
        this.#output.flush();
      });
    }
    this.#proceed();
    this.#finishIfDone();
    if (this.#requests.inFlight === 0) this.#onSettled?.();
  }

  /** Goes on with the request that waits, if it may start now. */
  #proceed(): void {
    if (this.#state !== 'waiting' || !this.#mayStart()) return;
    do this.#consume(this.#held.shift() ?? NOTHING);
    while (this.#held.length > 0 && !this.#isWaiting());
    if (!this.#isWaiting()) this.#connection.resume();
    this.#output.flush();
    this.#finishIfDone();
  }

  #isWaiting(): boolean {
    return this.#state === 'waiting';
  }

  #finishIfDone(): void {
    if (!this.#inputEnded || this.#finished || this.#requests.inFlight > 0) return;
    // Who takes no answers is not waited for when the server goes down.
    const { stopping } = this.#requests;
    const isStuck = stopping && this.#output.unsentBytes >= CLIENT_UNSENT_BYTES_MAX;
    if (this.#isWaiting() && !isStuck) return;
    this.#output.flush();
    // Else he has the time that he needs, also when he has said goodbye.
    if (!stopping && this.#output.unsentBytes > 0) return;
    this.abandon();
    this.#onFinished();
  }
}

const NOTHING = Buffer.alloc(0);
