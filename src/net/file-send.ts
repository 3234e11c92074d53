import type { Socket } from 'node:net';
import process from 'node:process';
import type { FileBytes } from '../util/file-bytes.ts';
import { KiB } from '../util/limits.ts';
import { descriptorOf, isLoopbackTcp } from './descriptor.ts';

/** Of a file's bytes that go to a socket by themselves: what is copied whenever it was full. */
const FILE_SEND_COPIED_BYTES = 16 * KiB;

/**
 * Sends a few bytes of ours and bytes of a file behind them to a socket, these past our memory.
 * Node does not tell when a socket that it did not write to has room again. So the next few bytes
 * after those that fitted are copied and written by Node itself: when it has got rid of them, the
 * rest goes on. For the same reason it is Node that finds out what is wrong with a socket that
 * takes nothing.
 */
export class FileSend {
  readonly #socket: Socket;
  /** What the system has not taken of the bytes in front of the file's. */
  #head: Buffer;
  readonly #bytes: FileBytes;
  readonly #onGiven: (bytes: number) => void;
  readonly #onFull: () => void;
  readonly #onSent: () => void;
  #sentBytes = 0;

  /**
   * `onGiven`: the system has got so many bytes past the socket's stream. `onFull`: the socket has
   * no room for now. `onSent`: see `send`.
   */
  constructor(
    socket: Socket,
    head: Buffer,
    bytes: FileBytes,
    tell: { onGiven: (bytes: number) => void; onFull: () => void; onSent: () => void },
  ) {
    this.#socket = socket;
    this.#head = head;
    this.#bytes = bytes;
    this.#onGiven = tell.onGiven;
    this.#onFull = tell.onFull;
    this.#onSent = tell.onSent;
  }

  /**
   * Sends what fits. Returns whether that was all; if not, the socket belongs to it until `onSent`:
   * when the system has taken everything, or when the connection broke.
   */
  send(): boolean {
    const { length, failure } = this.#bytes;
    const isLeft = this.#sentBytes < length;
    // What was written before goes first.
    if (isLeft && failure === undefined && this.#socket.writableLength === 0) {
      const descriptor = descriptorOf(this.#socket);
      if (descriptor !== undefined) {
        const taking = { descriptor, isLoopbackTcp: isLoopbackTcp(this.#socket) };
        const given = this.#bytes.sendTo(taking, this.#head, this.#sentBytes);
        this.#onGiven(given);
        this.#sent(given);
      }
    }
    if (this.#sentBytes === length && this.#head.length === 0) return true;
    if (this.#socket.destroyed) {
      // Whoever has the file may close it now.
      process.nextTick(this.#onSent);
      return false;
    }
    void this.#copySome(Math.min(FILE_SEND_COPIED_BYTES, length - this.#sentBytes));
    return false;
  }

  readonly #goOn = (error?: Error | null): void => {
    if (error || this.send()) this.#onSent();
  };

  #sent(bytes: number): void {
    const ofHead = Math.min(bytes, this.#head.length);
    if (ofHead > 0) this.#head = this.#head.subarray(ofHead);
    this.#sentBytes += bytes - ofHead;
  }

  async #copySome(length: number): Promise<void> {
    const copy = Buffer.allocUnsafe(length);
    try {
      const done = this.#bytes.read(this.#sentBytes, copy);
      if (done !== undefined) await done;
    } catch (error) {
      this.#bytes.failure ??= error as Error;
    }
    if (this.#bytes.failure !== undefined) {
      if (this.#bytes.orNothing) {
        this.#socket.destroy();
        // Later: who has just begun to send does not know yet that it takes longer.
        process.nextTick(this.#onSent);
        return;
      }
      // The peer was promised so many bytes.
      copy.fill(0);
    }
    const head = this.#head;
    this.#sent(head.length + length);
    this.#socket.cork();
    if (head.length > 0) this.#socket.write(head);
    this.#socket.write(copy, this.#goOn);
    this.#socket.uncork();
    this.#onFull();
  }
}
