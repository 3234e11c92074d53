import type { Socket } from 'node:net';
import type { FileBytes } from '../util/file-bytes.ts';
import { FILE_SEND_COPIED_BYTES } from '../util/limits.ts';
import { descriptorOf } from './descriptor.ts';

/**
 * Sends bytes of a file to a socket, past our memory. Node does not tell when a socket that it did
 * not write to has room again. So the next few bytes after those that fitted are copied and written
 * by Node itself: when it has got rid of them, the rest goes on. For the same reason it is Node
 * that finds out what is wrong with a socket that takes nothing.
 */
export class FileSend {
  readonly #socket: Socket;
  readonly #bytes: FileBytes;
  readonly #onSent: () => void;
  #sentBytes = 0;

  /**
   * Begins; the socket belongs to it until `onSent`: when the system has taken everything, or when
   * the connection broke.
   */
  constructor(socket: Socket, bytes: FileBytes, onSent: () => void) {
    this.#socket = socket;
    this.#bytes = bytes;
    this.#onSent = onSent;
    this.#goOn();
  }

  readonly #goOn = (error?: Error | null): void => {
    const { length, failure } = this.#bytes;
    const isLeft = this.#sentBytes < length && failure === undefined;
    // What was written before goes first.
    if (!error && isLeft && this.#socket.writableLength === 0) {
      const descriptor = descriptorOf(this.#socket);
      if (descriptor !== undefined) {
        this.#sentBytes += this.#bytes.sendTo(descriptor, this.#sentBytes);
      }
    }
    if (error || this.#sentBytes === length) this.#onSent();
    else void this.#copySome(Math.min(FILE_SEND_COPIED_BYTES, length - this.#sentBytes));
  };

  async #copySome(length: number): Promise<void> {
    const copy = Buffer.allocUnsafe(length);
    try {
      const done = this.#bytes.read(this.#sentBytes, copy);
      if (done !== undefined) await done;
    } catch (error) {
      this.#bytes.failure ??= error as Error;
    }
    // The peer was promised so many bytes.
    if (this.#bytes.failure !== undefined) copy.fill(0);
    this.#sentBytes += length;
    this.#socket.write(copy, this.#goOn);
  }
}
