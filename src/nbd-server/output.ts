import process from 'node:process';
import type { Connection } from '../net/connection.ts';
import { assert } from '../util/assert.ts';
import type { BufferPool } from '../util/buffer-pool.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { OUTPUT_SLAB_BYTES } from '../util/limits.ts';

/**
 * The replies to one client. They gather in a slab, one behind the other, and `flush` sends what
 * has gathered with one system call. A READ's data is read straight to its place in the slab; when
 * the node cannot do that at once, the place is *detached*: what stands before it goes out, what
 * comes after it is gathered behind it, and the slab lives until the place is released.
 *
 * Slabs come from a pool and go back when everything in them has been sent and released, so that an
 * idle client holds none.
 */
export interface Slab {
  readonly buffer: Buffer;
  /** Parts that are being sent or filled, plus one while replies gather in it. */
  holders: number;
}

export type ReplyConnection = Pick<Connection, 'write' | 'writeFile'>;

/** What it costs to have the socket keep something, beside its bytes. */
const WAITING_BYTES = 512;

export class Output {
  readonly #connection: ReplyConnection;
  readonly #pool: BufferPool;
  readonly #onSent: () => void;
  #slab: Slab | undefined;
  /** Replies in [start, end) of the slab have gathered and were not given to the socket yet. */
  #start = 0;
  #end = 0;
  #unsentBytes = 0;
  #sentBytes = 0;

  /** `onSent` is called whenever the system has taken something. */
  constructor(connection: ReplyConnection, pool: BufferPool, onSent: () => void) {
    this.#connection = connection;
    this.#pool = pool;
    this.#onSent = onSent;
  }

  /** Bytes that the system has not taken yet, and what it costs us to keep them. */
  get unsentBytes(): number {
    return this.#unsentBytes + this.#end - this.#start;
  }

  /** All that it has taken so far, counted alike. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /**
   * Makes room for `bytes` at `at` of the returned slab's buffer; the next call is `commit` or
   * `detach`, or the room is forgotten.
   */
  reserve(bytes: number): Slab {
    assert(bytes <= OUTPUT_SLAB_BYTES, 'a gathered reply fits in a slab');
    let slab = this.#slab;
    if (slab !== undefined && this.#end + bytes <= slab.buffer.length) return slab;
    this.flush();
    if (slab !== undefined) this.release(slab);
    slab = { buffer: this.#pool.take(OUTPUT_SLAB_BYTES), holders: 1 };
    this.#slab = slab;
    this.#start = 0;
    this.#end = 0;
    return slab;
  }

  /** Where the reserved room begins. */
  get at(): number {
    return this.#end;
  }

  /** The reply of `bytes` in the reserved room is complete. */
  commit(bytes: number): void {
    this.#end += bytes;
  }

  /** The reserved room will be filled later; `release` the slab when it has been sent or copied. */
  detach(bytes: number): void {
    this.flush();
    this.#slab!.holders++;
    this.#end += bytes;
    this.#start = this.#end;
  }

  release(slab: Slab): void {
    if (--slab.holders === 0) this.#pool.give(slab.buffer);
  }

  /** Gathers a complete reply that stands elsewhere: a copy, so for small ones. */
  append(reply: Buffer): void {
    const { buffer } = this.reserve(reply.length);
    reply.copy(buffer, this.#end);
    this.commit(reply.length);
  }

  /** Sends a complete reply that stands elsewhere; `onSent` says when its memory is free again. */
  send(reply: Buffer, onSent: () => void): void {
    this.#connection.write(reply, this.#sending(reply.length, onSent));
  }

  /** As `send`, for `head` and a file's bytes behind it, these past our memory. */
  sendFile(head: Buffer, file: FileBytes, onSent: () => void): void {
    const sent = this.#sending(head.length + file.length, onSent);
    // Later, as `write` does it: whoever sends is in the middle of something.
    if (this.#connection.writeFile(head, file, sent)) process.nextTick(sent);
  }

  /** Returns what is to be called when the system has taken them. */
  #sending(replyBytes: number, onSent: () => void): () => void {
    const bytes = replyBytes + WAITING_BYTES;
    this.#unsentBytes += bytes;
    return () => {
      this.#unsentBytes -= bytes;
      this.#sentBytes += bytes;
      onSent();
      this.#onSent();
    };
  }

  /** Gives what has gathered to the socket. */
  flush(): void {
    const slab = this.#slab;
    if (slab === undefined || this.#start === this.#end) return;
    const gathered = slab.buffer.subarray(this.#start, this.#end);
    this.#start = this.#end;
    slab.holders++;
    this.send(gathered, () => this.#sent(slab));
  }

  /** A slab of which nothing is pending starts again from its beginning, later or elsewhere. */
  #sent(slab: Slab): void {
    this.release(slab);
    if (slab === this.#slab && slab.holders === 1 && this.#start === this.#end) {
      this.#slab = undefined;
      this.release(slab);
    }
  }
}
