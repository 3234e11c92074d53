import { Buffer } from 'node:buffer';
import process from 'node:process';
import {
  REQUEST_BYTES,
  type RequestHeader,
  writeRequest,
} from '../../protocol/nbd/transmission.ts';
import type { Connection } from '../net/connection.ts';
import type { BufferPool } from '../util/buffer-pool.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { KiB, OUTPUT_SLAB_BYTES } from '../util/limits.ts';
import type { PendingRequest } from './request.ts';

/** Of a WRITE: in memory, or in a file's page cache. */
export type Payload = Buffer | FileBytes;

/**
 * Payloads up to this size are copied behind their header, longer ones are sent from their place.
 */
const TARGET_COPIED_PAYLOAD_BYTES_MAX = 32 * KiB;

/**
 * Requests on their way out. The headers and small payloads of one tick are gathered in one slab
 * and go out with one system call. A long payload is not copied: it follows its header, and
 * whatever gathered before, from where it stands, in the same system call. One that stands in a
 * file goes with its header by calls of its own.
 */
interface Slab {
  readonly buffer: Buffer;
  /** Parts that the system has not taken yet. */
  sending: number;
}

export class Outbox {
  readonly #connection: Connection;
  readonly #pool: BufferPool;
  readonly #onSent: (request: PendingRequest) => void;
  #slab: Slab | undefined;
  /** Requests in [start, end) of the slab were not given to the socket yet. */
  #start = 0;
  #end = 0;
  #scheduled = false;

  /** `onSent`: the system has taken a payload that `send` left where it stands. */
  constructor(connection: Connection, pool: BufferPool, onSent: (request: PendingRequest) => void) {
    this.#connection = connection;
    this.#pool = pool;
    this.#onSent = onSent;
  }

  /**
   * Sends a request soon. Returns whether its payload is used where it stands: then nobody may
   * change it before `onSent`.
   */
  send(header: RequestHeader, request: PendingRequest): boolean {
    const { payload } = request;
    if (payload === undefined) {
      this.sendAlone(header);
      return false;
    }
    if (!Buffer.isBuffer(payload)) return this.#sendFile(header, payload, request);
    if (payload.length <= TARGET_COPIED_PAYLOAD_BYTES_MAX) {
      const { buffer } = this.#putHeader(header, payload.length);
      this.#end += payload.copy(buffer, this.#end);
      this.#schedule();
      return false;
    }
    this.#putHeader(header, 0);
    this.#connection.together(() => {
      this.flush();
      this.#connection.write(payload, () => this.#onSent(request));
    });
    return true;
  }

  /** Sends a header soon that nothing belongs to. */
  sendAlone(header: RequestHeader): void {
    this.#putHeader(header, 0);
    this.#schedule();
  }

  /** Leaves room for so many bytes behind it. */
  #putHeader(header: RequestHeader, roomBytes: number): Slab {
    const slab = this.#reserve(REQUEST_BYTES + roomBytes);
    writeRequest(slab.buffer, this.#end, header);
    this.#end += REQUEST_BYTES;
    return slab;
  }

  #sendFile(header: RequestHeader, bytes: FileBytes, request: PendingRequest): boolean {
    const head = Buffer.allocUnsafe(REQUEST_BYTES);
    writeRequest(head, 0, header);
    this.flush();
    return !this.#connection.writeFile(head, bytes, () => this.#onSent(request));
  }

  /** Gives what has gathered to the socket. */
  flush(): void {
    const slab = this.#slab;
    if (slab === undefined || this.#start === this.#end) return;
    const gathered = slab.buffer.subarray(this.#start, this.#end);
    this.#start = this.#end;
    slab.sending++;
    this.#connection.write(gathered, () => this.#sent(slab));
  }

  #reserve(bytes: number): Slab {
    if (this.#slab !== undefined && this.#end + bytes > this.#slab.buffer.length) {
      this.flush();
      this.#slab = undefined;
    }
    if (this.#slab === undefined) {
      this.#slab = { buffer: this.#pool.take(OUTPUT_SLAB_BYTES), sending: 0 };
      this.#start = 0;
      this.#end = 0;
    }
    return this.#slab;
  }

  /** Goes back to the pool when nothing in it is needed, so that an idle connection holds none. */
  #sent(slab: Slab): void {
    if (--slab.sending > 0) return;
    if (slab === this.#slab) {
      if (this.#start !== this.#end) return;
      this.#slab = undefined;
    }
    this.#pool.give(slab.buffer);
  }

  /** After every callback that is due now, so that what they ask for goes out together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
