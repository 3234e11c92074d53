import type { Socket } from 'node:net';
import process from 'node:process';
import { assert } from '../util/assert.ts';
import { ProtocolError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { NET_KEEP_ALIVE_MS, NET_UNREAD_BYTES_MAX } from '../util/limits.ts';
import { reasonOf } from './address.ts';
import { ByteQueue } from './byte-queue.ts';
import { descriptorOf, mayBeRead, writingOf } from './descriptor.ts';
import { FileSend } from './file-send.ts';
import type { HotSocket, HotSockets } from './hot-sockets.ts';
import { type ByteSink, Incoming } from './incoming.ts';

/**
 * A byte stream over a socket, with two ways to read: `read(n)` for a negotiation, which is
 * straight async code, and `takeOver(sink)` for what follows, where a promise a request would be
 * the dearest part of it. What arrived early is handed over with it.
 *
 * A peer that has half-closed is still answered; the connection is closed when both sides have
 * ended, when it broke, or when somebody destroys it.
 */

/** The peer ended the stream in order, between two messages. */
export class ConnectionEnded extends ProtocolError {
  override readonly name = 'ConnectionEnded' as 'ProtocolError';
}

/** Reads in a row from one socket, as long as each fills its buffer. libuv has the same number. */
const HOT_READS_MAX = 32;

/** What has moved by now, to tell a slow peer from one that hangs. */
export interface Traffic {
  readonly bytesReceived: number;
  /** Sent but not taken: they wait until the peer takes what is before them. */
  readonly bytesWaiting: number;
  /** What the system has taken: of these, and of what did not have to wait. */
  readonly bytesTaken: number;
}

interface PendingRead {
  readonly bytes: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

export class Connection implements HotSocket {
  /** Who is at the other end, for logs and errors. */
  readonly peer: string;
  /** Resolves when the socket is closed: with what broke it, or nothing after an orderly end. */
  readonly closed: Promise<Error | undefined>;

  readonly #socket: Socket;
  readonly #incoming: Incoming;
  readonly #hotSockets: HotSockets | undefined;
  readonly #unread = new ByteQueue();
  #pendingRead: PendingRead | undefined;
  #sink: ByteSink | undefined;
  readonly #openDescriptor: number;
  /** The event loop's epoll set may have the socket still from before it was hot. */
  #isWatched = true;
  #isPaused = false;
  #peerEnded = false;
  #failure: Error | undefined;
  /** Received, and sent, past the socket's streams. */
  #takenBytes = 0;
  #givenBytes = 0;
  /** What was written while a file's bytes have the socket; undefined: they have not. */
  #behindFile: (() => void)[] | undefined;

  /**
   * `incoming` is what the socket was made with; without it plain `data` events are used, and no
   * `hotSockets`.
   */
  constructor(socket: Socket, peer: string, incoming?: Incoming, hotSockets?: HotSockets) {
    this.peer = peer;
    this.#socket = socket;
    this.#incoming = incoming ?? new Incoming();
    if (incoming !== undefined && hotSockets !== undefined) {
      this.#hotSockets = hotSockets;
      incoming.onArrival = () => this.descriptor >= 0 && hotSockets.arrived(this);
    }
    this.#incoming.sink = this.#collector();
    this.#openDescriptor = descriptorOf(socket) ?? -1;
    socket.setNoDelay(true);
    // A peer that lost its power says nothing: without this an idle connection never ends.
    socket.setKeepAlive(true, NET_KEEP_ALIVE_MS);
    if (incoming === undefined) socket.on('data', (chunk) => this.#incoming.push(chunk));
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => {
      this.#failure ??= error;
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#onClose();
        resolve(this.#failure);
      });
    });
    socket.resume();
  }

  get isClosed(): boolean {
    return this.#socket.destroyed;
  }

  get bytesReceived(): number {
    return this.#socket.bytesRead + this.#takenBytes;
  }

  get bytesSent(): number {
    return this.#socket.bytesWritten + this.#givenBytes;
  }

  get traffic(): Traffic {
    const { bytesReceived } = this;
    const { bytesGiven, bytesWaiting } = writingOf(this.#socket);
    return { bytesReceived, bytesWaiting, bytesTaken: bytesGiven - bytesWaiting };
  }

  /** Bytes that `write` took and the system did not yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /**
   * The next `bytes` bytes. One call at a time, and none after `takeOver`. Rejects with
   * `ConnectionEnded` when the peer ended before the first of them, with another `ProtocolError`
   * when it ended or broke in the middle.
   */
  read(bytes: number): Promise<Buffer> {
    assert(this.#sink === undefined && this.#pendingRead === undefined, 'one reader at a time');
    return new Promise((resolve, reject) => {
      this.#pendingRead = { bytes, resolve, reject };
      this.#serveRead();
    });
  }

  /** Hands what arrived and all that follows to `sink`. */
  takeOver(sink: ByteSink): void {
    assert(this.#sink === undefined && this.#pendingRead === undefined, 'one reader at a time');
    this.#sink = sink;
    this.#incoming.sink = sink;
    this.resume();
    // In one piece: the end of what a sink has got is where the socket goes on.
    const early = this.#unread.consume(this.#unread.length);
    if (early.length > 0) sink.push(early);
    if (this.#peerEnded) sink.end();
  }

  /**
   * Lets somebody take what has arrived from the socket itself: he is told its descriptor and says
   * how many bytes he took. Only while a sink is told of bytes: what it has got is before them.
   */
  take(taker: (socket: number) => number): void {
    if (this.#socket.destroyed || this.#openDescriptor < 0) return;
    this.#takenBytes += taker(this.#openDescriptor);
  }

  /** Stops reading from the socket, so that the peer is held back. */
  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (!this.#incoming.isHot && !this.#socket.destroyed) this.#socket.resume();
  }

  get descriptor(): number {
    return this.#isPaused || this.#socket.destroyed ? -1 : this.#openDescriptor;
  }

  look(): boolean {
    const { calls, slab } = this.#hotSockets!;
    if (this.#isWatched) this.#unwatch();
    for (let reads = 0; reads < HOT_READS_MAX; reads++) {
      const { descriptor } = this;
      if (descriptor < 0) return true;
      const place = this.#incoming.place(slab);
      const bytes = this.#calling(() => calls.receive(descriptor, place));
      if (bytes === 0) return reads > 0;
      this.#takenBytes += bytes;
      const isLong = this.#incoming.filled(bytes, place, slab);
      // Of long messages the event loop's way is a small part, and it reads them just as well.
      if (isLong) this.#hotSockets!.cool(this);
      if (isLong || bytes < place.length) return true;
    }
    return true;
  }

  /**
   * libuv takes a socket that it reads no more out of its epoll set when it next sees something
   * come of it. It never may, as we are there first, and its set would be ready each time.
   */
  #unwatch(): void {
    // For room libuv waits as well. And it reads again when the stream was paused and resumed.
    if (this.unsentBytes > 0 || mayBeRead(this.#socket)) return;
    this.#isWatched = false;
    this.#hotSockets!.calls.unwatch(this.#openDescriptor);
  }

  cool(): void {
    this.#incoming.isHot = false;
    this.#isWatched = true;
    if (!this.#isPaused) this.resume();
  }

  /**
   * Sends `data`, which nobody may change until `onWritten` is called: when the system has taken
   * it, or when the connection broke.
   */
  write(data: Buffer, onWritten?: () => void): void {
    if (this.#behindFile !== undefined) {
      this.#behindFile.push(() => this.write(data, onWritten));
      return;
    }
    const given = this.#give(data);
    if (given > 0 && given === data.length) {
      if (onWritten !== undefined) process.nextTick(onWritten);
      return;
    }
    this.#waitForRoom();
    this.#socket.write(given === 0 ? data : data.subarray(given), onWritten);
  }

  /** The event loop does, from its next turn on. */
  readonly #waitForRoom = () => this.#hotSockets?.loopIsDue();

  /** Past the socket's stream, which takes several times as long; what fits. */
  #give(data: Buffer): number {
    const { destroyed, writableLength, writableEnded, writableCorked } = this.#socket;
    // What was written before goes first.
    if (destroyed || writableLength > 0 || writableEnded || writableCorked > 0) return 0;
    if (this.#hotSockets === undefined || this.#openDescriptor < 0) return 0;
    const { calls } = this.#hotSockets;
    const bytes = this.#calling(() => calls.send(this.#openDescriptor, data));
    this.#givenBytes += bytes;
    return bytes;
  }

  /** A failed call breaks the connection, as it does when the event loop makes it. */
  #calling(call: () => number): number {
    try {
      return call();
    } catch (error) {
      this.#socket.destroy(error as Error);
      return 0;
    }
  }

  /**
   * As `write`, for `head` and a file's bytes behind it, these past our memory. Returns whether the
   * system has taken all of it at once; then `onWritten` is not called.
   */
  writeFile(head: Buffer, bytes: FileBytes, onWritten: () => void): boolean {
    if (this.#behindFile !== undefined) {
      this.#behindFile.push(() => {
        if (this.writeFile(head, bytes, onWritten)) process.nextTick(onWritten);
      });
      return false;
    }
    const onSent = () => {
      const behind = this.#behindFile!;
      this.#behindFile = undefined;
      // Later, as `write` does it: what waits goes first.
      process.nextTick(onWritten);
      // One of them may be a file's bytes: then the others wait again.
      for (const write of behind) write();
    };
    const file = new FileSend(this.#socket, head, bytes, {
      onGiven: (given) => {
        this.#givenBytes += given;
      },
      onFull: this.#waitForRoom,
      onSent,
    });
    if (file.send()) return true;
    this.#behindFile = [];
    return false;
  }

  /** What `writes` writes goes out with one system call. */
  together(writes: () => void): void {
    this.#socket.cork();
    writes();
    this.#socket.uncork();
  }

  /**
   * Sends what was written and then the end of our side. What the peer still sends is dropped; the
   * connection closes when the peer ends too. Bound the wait with `destroy`.
   */
  end(): void {
    this.#incoming.sink = DISCARD;
    if (this.#behindFile === undefined) this.#socket.end();
    else this.#behindFile.push(() => this.end());
    this.resume();
  }

  /** Closes at once; what was not sent yet is lost. */
  destroy(): void {
    this.#socket.destroy();
  }

  #collector(): ByteSink {
    return {
      push: (chunk) => {
        this.#unread.push(Buffer.from(chunk));
        this.#serveRead();
        return false;
      },
      room: () => undefined,
      filled() {},
      end() {},
    };
  }

  #serveRead(): void {
    const pending = this.#pendingRead;
    if (pending === undefined) {
      if (this.#unread.length > NET_UNREAD_BYTES_MAX) this.pause();
      return;
    }
    if (this.#unread.length >= pending.bytes) {
      this.#pendingRead = undefined;
      pending.resolve(this.#unread.consume(pending.bytes));
    } else if (this.#peerEnded || this.#socket.destroyed) {
      this.#pendingRead = undefined;
      pending.reject(this.#endOfStream(pending.bytes));
    } else {
      this.resume();
    }
  }

  #endOfStream(wanted: number): Error {
    const got = this.#unread.length;
    if (this.#failure !== undefined) {
      return new ProtocolError(`Connection with ${this.peer} broke: ${reasonOf(this.#failure)}`);
    }
    const what = this.#peerEnded ? 'was closed by the peer' : 'is closed';
    if (got === 0) return new ConnectionEnded(`Connection with ${this.peer} ${what}`);
    const where = `after ${got} of ${wanted} bytes of a message`;
    return new ProtocolError(`Connection with ${this.peer} ${what} ${where}`);
  }

  #onEnd(): void {
    this.#peerEnded = true;
    this.#serveRead();
    this.#sink?.end();
  }

  #onClose(): void {
    if (this.#incoming.isHot) this.#hotSockets!.forget(this);
    this.#serveRead();
  }
}

const DISCARD: ByteSink = {
  push: () => false,
  room: () => undefined,
  filled() {},
  end() {},
};
