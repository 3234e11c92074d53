import { Slab } from './slab.ts';

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
  /** For the `onread` option of a socket: how the event loop reads it. */
  readonly onread = {
    /** Called when the other has returned; the event loop keeps the answer until it has read. */
    buffer: () => this.#room ?? this.#slab.buffer,
    callback: (bytes: number, buffer: Uint8Array) => {
      if (this.sink === undefined) return false;
      this.filled(bytes, buffer as Buffer, this.#slab);
      // Node began to read again, for a stream that was paused and resumed: it is not to.
      this.#room = this.isHot ? undefined : this.sink.room();
      if (!this.isHot) this.isHot = this.#room === undefined && this.onArrival();
      return !this.isHot;
    },
  };
  sink: ByteSink | undefined;
  /** The event loop has read, and no long message comes: returns whether it is to read no more. */
  onArrival: () => boolean = () => false;
  /** The event loop does not read: see `HotSockets`. */
  isHot = false;
  readonly #slab = new Slab();
  #room: Buffer | undefined;

  /** A whole chunk whose memory is nobody else's: for sockets that only have `data` events. */
  push(chunk: Buffer): void {
    this.sink?.push(chunk);
  }

  /** Where the next bytes go: to where they belong, or into `slab`. */
  place(slab: Slab): Buffer {
    this.#room = this.sink?.room();
    return this.#room ?? slab.buffer;
  }

  /** So many bytes came into the place told last. Returns whether they belong there. */
  filled(bytes: number, place: Buffer, slab: Slab): boolean {
    if (place === this.#room) {
      this.sink?.filled(bytes);
      return true;
    }
    if (this.sink?.push(place.subarray(0, bytes))) slab.keep();
    return false;
  }
}
