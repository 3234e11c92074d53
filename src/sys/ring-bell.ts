import fs from 'node:fs';
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import koffi, { type LibraryHandle } from 'koffi';
import { systemError } from './system-error.ts';

/**
 * Wakes the event loop when enough of what is in an io_uring has ended. Node can listen to a socket
 * but not to a ring, so the ring itself sends a byte: a time-out that is over early when so many
 * transfers have ended, and behind it a send to a socket that Node listens to. Both are entries of
 * the ring like others and begin with them, by the same system call; no thread waits for anything.
 */
const IORING_OP_TIMEOUT = 11;
const IORING_OP_SEND = 26;
/** The next entry begins when this one has ended, however it ended. */
const IOSQE_IO_HARDLINK = 1 << 3;
/** Its end is told only if it failed. */
const IOSQE_CQE_SKIP_SUCCESS = 1 << 6;
const IORING_TIMEOUT_ETIME_SUCCESS = 1 << 5;
const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 0o2000001;

/** To wake up for each end would cost a busy machine more than the moment that some wait. */
const TOGETHER_NS = 100_000n;
/** For the last few: it rings for nothing as often, while a disk hangs. */
const UNTIL_ONE_ENDS_S = 1n;
/** Where the kernel reads them: a byte to send, and two of `struct timespec`. */
const MEMORY = { byte: 0, together: 16, untilOneEnds: 32, bytes: 48 } as const;

/** What there is to say in a `struct io_uring_sqe`. */
export interface RingEntry {
  readonly operation: number;
  readonly flags: number;
  readonly fd: number;
  readonly offset: number;
  readonly address: number;
  readonly length: number;
  readonly operationFlags: number;
}

export class RingBell {
  readonly #listener: Socket;
  readonly #toListener: number;
  readonly #memory = Buffer.alloc(MEMORY.bytes);
  readonly #address: number;
  /** By hand, and nobody has heard it yet. */
  #isRinging = false;

  /** `address` is where a buffer's memory lies. */
  constructor(libc: LibraryHandle, address: (buffer: Buffer) => number, onRung: () => void) {
    const socketpair = libc.func('int socketpair(int domain, int type, int protocol, void *fds)');
    const fds = new Int32Array(new ArrayBuffer(8));
    const made: number = socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds);
    if (made < 0) throw systemError('socketpair', koffi.errno());
    this.#toListener = fds[0]!;
    const onread = {
      buffer: Buffer.alloc(16),
      callback: () => {
        this.#isRinging = false;
        onRung();
        return true;
      },
    };
    // Known to `net.connect` by its types, and to every Socket by the documentation.
    const options: SocketConstructorOpts & { onread: OnReadOpts } = { fd: fds[1]!, onread };
    this.#listener = new Socket(options);
    this.#listener.unref();
    this.#memory.writeBigInt64LE(TOGETHER_NS, MEMORY.together + 8);
    this.#memory.writeBigInt64LE(UNTIL_ONE_ENDS_S, MEMORY.untilOneEnds);
    this.#address = address(this.#memory);
  }

  /** What makes it ring once: when so many have ended, or some have and time is up. */
  entries(ends: number): RingEntry[] {
    const timeout = {
      operation: IORING_OP_TIMEOUT,
      flags: IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS,
      fd: -1,
      offset: ends,
      address: this.#address + (ends > 1 ? MEMORY.together : MEMORY.untilOneEnds),
      length: 1,
      operationFlags: IORING_TIMEOUT_ETIME_SUCCESS,
    };
    const send = {
      operation: IORING_OP_SEND,
      flags: IOSQE_CQE_SKIP_SUCCESS,
      fd: this.#toListener,
      offset: 0,
      address: this.#address + MEMORY.byte,
      length: 1,
      operationFlags: 0,
    };
    return [timeout, send];
  }

  /**
   * For an end that does not come by itself. Once until it is heard: who hears it is who rings, and
   * would wait for room for ever.
   */
  ringByHand(): void {
    if (this.#isRinging) return;
    this.#isRinging = true;
    fs.writeSync(this.#toListener, this.#memory, MEMORY.byte, 1);
  }

  /** Whether it is waited for: a process has no other reason to go on. */
  keepAlive(isWaitedFor: boolean): void {
    if (isWaitedFor) this.#listener.ref();
    else this.#listener.unref();
  }
}
