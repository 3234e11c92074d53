import { NET_SLAB_BYTES } from '../util/limits.ts';
import type { BusyPoll } from './busy-poll.ts';

/**
 * Where the bytes of one socket are read into. Node's plain `data` events allocate 64 KiB for every
 * read; here one slab is used again and again as long as nobody keeps views into it, and a payload
 * whose place is known (a WRITE's buffer on a server, a READ's on a client) is read straight into
 * that place: no copy, and one system call for as much as has arrived.
 */
export interface ByteSink {
  /**
   * Takes all of `chunk`. Returns whether views into it are kept; if not, its memory is used again
   * as soon as this returns.
   */
  push(chunk: Buffer): boolean;
  /**
   * Where the next bytes of the stream belong, if that is known and worth it. Asked after every
   * arrival; the answer holds until bytes arrive, so that memory must stay valid until then.
   * The bytes may come by `push` all the same.
   */
  room(): Buffer | undefined;
  /** So many bytes were read into the beginning of the room given last. */
  filled(bytes: number): void;
  /** The peer will send no more. */
  end(): void;
}

export class Incoming {
  /** For the `onread` option of a socket. */
  readonly onread = {
    buffer: () => this.#next(),
    callback: (bytes: number, buffer: Uint8Array) => this.#received(bytes, buffer),
  };
  sink: ByteSink | undefined;
  readonly #busyPoll: BusyPoll | undefined;
  #slab: Buffer | undefined;
  #room: Buffer | undefined;

  /** `busyPoll` is told of every arrival. */
  constructor(busyPoll?: BusyPoll) {
    this.#busyPoll = busyPoll;
  }

  /** A whole chunk whose memory is nobody else's: for sockets that only have `data` events. */
  push(chunk: Buffer): void {
    this.sink?.push(chunk);
  }

  #next(): Buffer {
    this.#room = this.sink?.room();
    if (this.#room !== undefined) return this.#room;
    this.#slab ??= Buffer.allocUnsafeSlow(NET_SLAB_BYTES);
    return this.#slab;
  }

  #received(bytes: number, buffer: Uint8Array): boolean {
    this.#busyPoll?.arrived();
    const sink = this.sink;
    if (sink === undefined) return false;
    if (buffer === this.#room) {
      sink.filled(bytes);
      return true;
    }
    const kept = sink.push((buffer as Buffer).subarray(0, bytes));
    if (kept) this.#slab = undefined;
    return true;
  }
}
