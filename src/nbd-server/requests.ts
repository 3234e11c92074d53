import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from '../../protocol/nbd/constants.ts';
import type { RequestHeader } from '../../protocol/nbd/transmission.ts';
import { type Completion, WRITE_FUA, ZERO_MAY_UNMAP, ZERO_NO_FALLBACK } from '../block/node.ts';
import type { Arrived, Received } from '../util/arrived.ts';
import { AssertionError } from '../util/assert.ts';
import type { BufferPool } from '../util/buffer-pool.ts';
import { asBlockError, BlockError, type Errno } from '../util/errors.ts';
import { BLOCK_STATUS_EXTENTS_MAX, KiB, MiB, SPARSE_READ_BYTES_MIN } from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { keepsData, watch } from '../util/pending.ts';
import type { NbdExport } from './export.ts';
import { type Answer, LateRequest } from './late-request.ts';
import { describeBlocks, type SelectedContext } from './meta-context.ts';
import type { Output } from './output.ts';
import type { Replies } from './replies.ts';
import { SparseRead } from './sparse-read.ts';
import { type Refusal, SHUTTING_DOWN } from './validate.ts';

/** READs up to this size are read into the gathered replies, longer ones into a buffer each. */
const GATHERED_READ_BYTES_MAX = 32 * KiB;
/** For longer ones the page cache would be asked, time after time, for longer than they gain. */
const FILE_READ_BYTES_MAX = 4 * MiB;
/** Clients try what a disk may lack, as zeroes faster than by writing; and the server may end. */
const NO_FAILURES: readonly Errno[] = ['ENOTSUP', 'ESHUTDOWN'];

/**
 * One client's requests, valid by now, against its export. What the node does at once is answered
 * at once, without a promise or a closure; only what takes longer is counted as in flight.
 *
 * Whatever a node throws that is not a `BlockError` is a broken promise of our own code: it is
 * thrown on, out of the event loop's callback, and ends the process.
 */
export interface RequestsOptions {
  readonly export: NbdExport;
  readonly contexts: readonly SelectedContext[];
  readonly output: Output;
  readonly replies: Replies;
  readonly pool: BufferPool;
  readonly log: Log;
  /** A request that took longer has been answered. */
  readonly onFinished: () => void;
  /** A reply that has begun can no longer be made good: the connection has to end. */
  readonly onBroken: (why: string) => void;
}

export class Requests {
  inFlight = 0;
  /** Payload bytes of the reads and writes in flight. */
  inFlightBytes = 0;
  /** The server is going down: nothing is begun any more that may have to wait. */
  stopping = false;
  readonly #export: NbdExport;
  readonly #contexts: readonly SelectedContext[];
  readonly #output: Output;
  readonly #replies: Replies;
  readonly #pool: BufferPool;
  readonly #log: Log;
  readonly #onFinished: () => void;
  readonly #onBroken: (why: string) => void;

  constructor(options: RequestsOptions) {
    this.#export = options.export;
    this.#contexts = options.contexts;
    this.#output = options.output;
    this.#replies = options.replies;
    this.#pool = options.pool;
    this.#log = options.log;
    this.#onFinished = options.onFinished;
    this.#onBroken = options.onBroken;
  }

  /** Everything but WRITE and DISC. `request` may be changed as soon as this returns. */
  start(request: RequestHeader): void {
    switch (request.type) {
      case NBD_CMD_READ:
        this.#read(request);
        break;
      case NBD_CMD_BLOCK_STATUS:
        this.#startBlockStatus({ ...request });
        break;
      default:
        this.#control(request);
    }
  }

  /**
   * A WRITE whose payload is complete. Returns whether `data` is still in use; if so, then no more
   * when `onEnded` is called, which is in every case before the answer.
   */
  write(request: RequestHeader, data: Buffer, onEnded?: () => void): boolean {
    if (this.stopping) {
      onEnded?.();
      this.refuse(request, SHUTTING_DOWN);
      return false;
    }
    const { node, counters, writeFlags } = this.#export;
    counters.writes++;
    counters.writtenBytes += request.length;
    let done: Completion;
    try {
      const flags = writeFlags | flagsOf(request);
      done = request.length === 0 ? undefined : node.write(request.offset, data, flags);
    } catch (error) {
      onEnded?.();
      this.#fail(request, error);
      return false;
    }
    if (done === undefined) {
      onEnded?.();
      this.#replies.ok(request);
      return false;
    }
    if (onEnded === undefined) this.#later(request, done, this.#sayOk);
    else {
      this.#later(request, done, (late, failed) => {
        onEnded();
        this.#sayOk(late, failed);
      });
    }
    return keepsData(done);
  }

  /**
   * Writes, past our memory, what has arrived of a WRITE; `missing` is what is not written yet.
   * Undefined: it has to come by `write`.
   */
  receive(missing: RequestHeader, arrived: Arrived): Received | undefined {
    const { node, counters, writeFlags } = this.#export;
    if ((writeFlags | flagsOf(missing)) !== 0) return undefined;
    const received = node.receive(missing.offset, missing.length, arrived);
    if (received !== undefined) counters.writtenBytes += received.writtenBytes;
    return received;
  }

  /** A WRITE is written by `receive` alone. */
  received(request: RequestHeader): void {
    this.#export.counters.writes++;
    this.#replies.ok(request);
  }

  refuse(request: RequestHeader, refusal: Refusal): void {
    this.#answerError(request, refusal.code, refusal.reason);
  }

  #read(request: RequestHeader): void {
    const { counters } = this.#export;
    counters.reads++;
    counters.readBytes += request.length;
    if (request.length === 0) this.#replies.emptyRead(request);
    else if (request.length <= GATHERED_READ_BYTES_MAX) this.#readGathered(request);
    else if (this.#mayBeSparse(request)) this.#readSparse(request);
    else this.#readAlone(request);
  }

  /** Straight to its place among the replies of this turn. */
  #readGathered(request: RequestHeader): void {
    const prefixBytes = this.#replies.readPrefixBytes;
    const bytes = prefixBytes + request.length;
    const slab = this.#output.reserve(bytes);
    const at = this.#output.at;
    const data = slab.buffer.subarray(at + prefixBytes, at + bytes);
    let done: Completion;
    try {
      done = this.#export.node.read(request.offset, data);
    } catch (error) {
      this.#fail(request, error);
      return;
    }
    if (done === undefined) {
      this.#replies.writeReadPrefix(slab.buffer, at, request);
      this.#output.commit(bytes);
      return;
    }
    this.#output.detach(bytes);
    this.#later(request, done, (late, failed) => {
      if (!failed) {
        this.#replies.writeReadPrefix(slab.buffer, at, late);
        this.#output.append(slab.buffer.subarray(at, at + bytes));
      }
      this.#output.release(slab);
    });
  }

  /** Into a buffer of its own, with its header in front, that is sent as it is. */
  #readAlone(request: RequestHeader): void {
    if (this.#sendFromFile(request)) return;
    const prefixBytes = this.#replies.readPrefixBytes;
    const bytes = prefixBytes + request.length;
    this.#readInto(request, bytes, (buffer) => {
      this.#replies.writeReadPrefix(buffer, 0, request);
      return this.#export.node.read(request.offset, buffer.subarray(prefixBytes, bytes));
    });
  }

  /** Past our memory, what a page cache has; returns whether it has. */
  #sendFromFile(request: RequestHeader): boolean {
    const { offset, length } = request;
    if (length > FILE_READ_BYTES_MAX) return false;
    const bytes = this.#export.node.fileBytes(offset, length, false);
    if (bytes === undefined) return false;
    bytes.orNothing = true;
    const head = Buffer.allocUnsafe(this.#replies.readPrefixBytes);
    this.#replies.writeReadPrefix(head, 0, request);
    this.#output.sendFile(head, bytes, () => {
      bytes.end();
      if (bytes.failure === undefined) return;
      // The header has said that all is well.
      const what = `Cannot read ${length} bytes at ${offset} any more`;
      const { code, message } = asBlockError(bytes.failure, what);
      this.#count(code, message);
      this.#onBroken(`it got a part of a reply: ${message}`);
    });
    return true;
  }

  /** What is known to be zeroes is said, not sent, where that is allowed and known for nothing. */
  #readSparse(request: RequestHeader): void {
    const { node } = this.#export;
    let sparse: SparseRead | undefined;
    try {
      sparse = SparseRead.of(node, request);
    } catch (error) {
      this.#fail(request, error);
      return;
    }
    if (sparse === undefined) this.#readAlone(request);
    else {
      const { bytes } = sparse;
      this.#readInto(request, bytes, (buffer) => sparse.fill(buffer, node, this.#replies, request));
    }
  }

  #mayBeSparse({ flags, length }: RequestHeader): boolean {
    if (length < SPARSE_READ_BYTES_MIN || !this.#replies.structured) return false;
    return (flags & NBD_CMD_FLAG_DF) === 0 && this.#export.node.features.freeStatus;
  }

  /** Sends a reply of `bytes` that `fill` writes into a buffer, before it returns or later. */
  #readInto(request: RequestHeader, bytes: number, fill: (buffer: Buffer) => Completion): void {
    const buffer = this.#pool.take(bytes);
    const giveBack = () => this.#pool.give(buffer);
    let done: Completion;
    try {
      done = fill(buffer);
    } catch (error) {
      giveBack();
      this.#fail(request, error);
      return;
    }
    const answer: Answer = (_, failed) => {
      if (failed) giveBack();
      else this.#output.send(buffer.subarray(0, bytes), giveBack);
    };
    if (done === undefined) answer(request, false);
    else this.#later(request, done, answer);
  }

  /** Commands that carry no data in either direction. */
  #control(request: RequestHeader): void {
    let done: Completion;
    try {
      done = this.#startControl(request);
    } catch (error) {
      this.#fail(request, error);
      return;
    }
    if (done === undefined) {
      this.#replies.ok(request);
      return;
    }
    this.#later(request, done, this.#sayOk);
  }

  #startControl(request: RequestHeader): Completion {
    const { node, counters, writeFlags } = this.#export;
    const { offset, length } = request;
    if (request.type === NBD_CMD_FLUSH) {
      counters.flushes++;
      return node.flush();
    }
    if (length === 0) return undefined;
    switch (request.type) {
      case NBD_CMD_TRIM:
        counters.discards++;
        return node.discard(offset, length, writeFlags | flagsOf(request));
      case NBD_CMD_WRITE_ZEROES:
        counters.discards++;
        return node.writeZeroes(offset, length, writeFlags | flagsOf(request));
      case NBD_CMD_CACHE:
        return node.prefetch(offset, length);
      default:
        throw new AssertionError(`command ${request.type} was validated`);
    }
  }

  #startBlockStatus(request: RequestHeader): void {
    this.#later(request, this.#blockStatus(request), () => {});
  }

  async #blockStatus(request: RequestHeader): Promise<void> {
    const one = (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0;
    const extentsMax = one ? 1 : BLOCK_STATUS_EXTENTS_MAX;
    const found = await Promise.all(
      this.#contexts.map(async ({ id, context }) => ({
        contextId: id,
        extents: await describeBlocks(context, request, extentsMax),
      })),
    );
    // All are here before the first is sent: a reply that has begun can no longer fail.
    for (const [index, status] of found.entries()) {
      this.#replies.blockStatus(request, status, index === found.length - 1);
    }
  }

  readonly #sayOk: Answer = (request, failed) => {
    if (!failed) this.#replies.ok(request);
  };

  /** Counts the request as in flight until `done`; then it is answered. */
  #later(request: RequestHeader, done: Promise<void>, answer: Answer): void {
    this.inFlight++;
    this.inFlightBytes += payloadBytes(request);
    watch(done, new LateRequest(request, answer, this.#ended));
  }

  readonly #ended = ({ header, answer }: LateRequest, failure: unknown) => {
    answer(header, failure !== undefined);
    if (failure !== undefined) this.#fail(header, failure);
    this.inFlight--;
    this.inFlightBytes -= payloadBytes(header);
    this.#onFinished();
  };

  #fail(request: RequestHeader, error: unknown): void {
    if (!(error instanceof BlockError)) throw error;
    this.#answerError(request, error.code, error.message);
  }

  #answerError(request: RequestHeader, code: Errno, message: string): void {
    this.#count(code, message);
    this.#replies.error(request, code, message);
  }

  #count(code: Errno, message: string): void {
    if (NO_FAILURES.includes(code)) return;
    this.#export.counters.errors++;
    this.#export.failures.add(this.#log, code, message);
  }
}

function flagsOf(request: RequestHeader): number {
  const { type, flags } = request;
  const fua = (flags & NBD_CMD_FLAG_FUA) !== 0 ? WRITE_FUA : 0;
  if (type !== NBD_CMD_WRITE_ZEROES) return fua;
  const unmap = (flags & NBD_CMD_FLAG_NO_HOLE) !== 0 ? 0 : ZERO_MAY_UNMAP;
  const fast = (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0 ? ZERO_NO_FALLBACK : 0;
  return fua | unmap | fast;
}

/** Bytes of data that the request carries in one direction or the other. */
export function payloadBytes(request: RequestHeader): number {
  const { type, length } = request;
  return type === NBD_CMD_READ || type === NBD_CMD_WRITE ? length : 0;
}
