import type { RequestHeader } from '../../protocol/nbd/transmission.ts';
import type { Connection } from '../net/connection.ts';
import type { ArrivingWrite, Received } from '../util/arrived.ts';
import { KiB } from '../util/limits.ts';
import type { Requests } from './requests.ts';

/** What is read of each part of a long WRITE, so that Node tells of it: a block of most disks. */
export const DIRECT_HEAD_BYTES = 4 * KiB;

/**
 * The payload of a long WRITE on its way from the socket to the disk, past our memory, a part at a
 * time as it arrives. Node tells of bytes only by reading some. So the next few are read, the
 * *head*, and whatever has arrived behind them goes to the disk with them. It ends where a block of
 * the disk does, so that blocks are written whole.
 *
 * Between two parts nothing is in flight: each is a write of its own to the node that is there by
 * then.
 */
export class DirectPayload {
  readonly #connection: Pick<Connection, 'take'>;
  readonly #requests: Pick<Requests, 'receive'>;
  readonly #memory = Buffer.allocUnsafeSlow(DIRECT_HEAD_BYTES);
  #headBytes = 0;
  #write: ArrivingWrite = { hasEnded: true };

  constructor(connection: Pick<Connection, 'take'>, requests: Pick<Requests, 'receive'>) {
    this.#connection = connection;
    this.#requests = requests;
  }

  /** A WRITE begins to arrive. */
  begin(): void {
    this.#write = { hasEnded: false };
  }

  /** The WRITE that arrives: who answers it, or knows that nobody will, says that it ended. */
  get write(): ArrivingWrite {
    return this.#write;
  }

  /** Where the next bytes belong. `missing` is the request without what is written of it. */
  room(missing: RequestHeader): Buffer {
    const toBlockEnd = DIRECT_HEAD_BYTES - (missing.offset % DIRECT_HEAD_BYTES);
    return this.#memory.subarray(this.#headBytes, Math.min(missing.length, toBlockEnd));
  }

  /** So many bytes were read into the beginning of the room. */
  filled(bytes: number): void {
    this.#headBytes += bytes;
  }

  /** Bytes that were read and not written; they are the caller's now. */
  leave(): Buffer {
    const head = this.#memory.subarray(0, this.#headBytes);
    this.#headBytes = 0;
    return head;
  }

  /**
   * Writes what is there, and takes it off `missing`. Returns nothing if the rest may come in the
   * same way; if not, what has come of the rest.
   */
  receive(missing: RequestHeader): Buffer | undefined {
    const head = this.#memory.subarray(0, this.#headBytes);
    let received: Received | undefined;
    this.#connection.take((socket) => {
      received = this.#requests.receive(missing, { head, socket, write: this.#write });
      return received?.takenBytes ?? 0;
    });
    if (received === undefined) return this.leave();
    const { writtenBytes, unwritten }: Received = received;
    missing.offset += writtenBytes;
    missing.length -= writtenBytes;
    if (unwritten.length > 0 || writtenBytes > 0) this.#headBytes = 0;
    if (unwritten.length > 0) return unwritten;
    // The head is full, and less than a page of the kernel: it would never be written alone.
    if (missing.length > 0 && this.room(missing).length === 0) return this.leave();
    return undefined;
  }
}
