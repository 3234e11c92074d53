import { WebSocket } from 'ws';
import { assert } from '../util/assert.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { NET_SLAB_BYTES, WEB_SOCKET_PING_MS } from '../util/limits.ts';
import type { ByteSink } from './incoming.ts';

/**
 * A WebSocket as a stream of lines: each line that is written goes out as one text frame without
 * its CRLF, and the end of a frame that arrives is the end of a line. So a reader of lines, or of
 * JSON with blanks in between, is the same for sockets and WebSockets.
 *
 * A long frame is handed on in pieces, one a turn of the event loop, and while pieces wait nothing
 * is read: what a peer sends costs others no more time here than on a plain socket.
 */
const BINARY_REFUSED = 1003;
const LINE_END = Buffer.from('\n');
const CRLF_BYTES = 2;

export class WebSocketConnection {
  readonly peer: string;
  /** Resolves when the WebSocket is closed. */
  readonly closed: Promise<unknown>;
  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #waiting: Buffer[] = [];
  #sink: ByteSink | undefined;
  #paused = false;
  #turn: Timer | undefined;
  #ping: Timer;
  #peerEnded = false;

  /** Takes a WebSocket that is open. */
  constructor(socket: WebSocket, options: { readonly peer: string; readonly clock: Clock }) {
    this.peer = options.peer;
    this.#socket = socket;
    this.#clock = options.clock;
    this.#ping = this.#pingLater();
    socket.on('error', () => {}); // It closes then, which is all that matters.
    socket.on('message', (frame: Buffer, isBinary) => {
      if (isBinary) socket.close(BINARY_REFUSED, 'QMP is text');
      else this.#receive(frame);
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#ping.cancel();
        this.#peerEnded = true;
        this.#deliver();
        resolve(undefined);
      });
    });
  }

  get isClosed(): boolean {
    return this.#socket.readyState !== WebSocket.OPEN;
  }

  /** Bytes that `write` took and the system did not yet. */
  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Hands what arrived and all that follows to `sink`, which keeps no views into it. */
  takeOver(sink: ByteSink): void {
    assert(this.#sink === undefined, 'one reader at a time');
    this.#sink = sink;
    this.#deliver();
  }

  /** Stops reading, so that the peer is held back. */
  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  /** Sends one line, which ends with CRLF. */
  write(line: Buffer): void {
    this.#socket.send(line.subarray(0, -CRLF_BYTES), { binary: false }, () => {});
  }

  /** Sends what was written and says goodbye; closes when the peer has too. */
  end(): void {
    this.#sink = undefined;
    this.#socket.resume();
    this.#socket.close();
  }

  /** Closes at once; what was not sent yet is lost. */
  destroy(): void {
    this.#socket.terminate();
  }

  #receive(frame: Buffer): void {
    for (let at = 0; at < frame.length; at += NET_SLAB_BYTES) {
      this.#waiting.push(frame.subarray(at, at + NET_SLAB_BYTES));
    }
    this.#waiting.push(LINE_END);
    this.#deliver();
  }

  /** One piece now, the next when everybody else has had a turn. */
  #deliver(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#paused || this.#turn !== undefined) return;
    const piece = this.#waiting.shift();
    if (piece === undefined) {
      if (this.#peerEnded) sink.end();
      else this.#socket.resume();
      return;
    }
    this.#socket.pause();
    this.#turn = this.#clock.defer(() => {
      this.#turn = undefined;
      this.#deliver();
    });
    sink.push(piece);
  }

  #pingLater(): Timer {
    return this.#clock.after(WEB_SOCKET_PING_MS, () => {
      if (!this.isClosed) this.#socket.ping();
      this.#ping = this.#pingLater();
    });
  }
}
