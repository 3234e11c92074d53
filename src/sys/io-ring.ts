import fs from 'node:fs';
import { constants } from 'node:os';
import koffi, { type LibraryHandle } from 'koffi';
import { IO_RING_ENTRIES } from '../util/limits.ts';
import { RingBell, type RingEntry } from './ring-bell.ts';
import { hasShrunk, systemError } from './system-error.ts';

/**
 * Reads and writes that wait for a disk, by Linux's io_uring (io_uring(7)): each begins at once, by
 * one system call and without a thread, and what has ended meanwhile is told together. In libuv's
 * pool each takes a wake-up there and one back: 4 KiB reads of a cold file, depth 16, cost 34 us of
 * processor time that way and 16 this way. `RingBell` says when to look.
 *
 * The kernel works on the memory of buffers behind our back: each is kept until its transfer ends.
 */
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;
const IORING_REGISTER_IOWQ_MAX_WORKERS = 19;
const IORING_OP_READ = 22;
const IORING_OP_WRITE = 23;
/** Ends are noted when this thread is in the kernel anyway: no interrupts (Linux 5.19). */
const IORING_SETUP_COOP_TASKRUN = 1 << 8;
/** SINGLE_MMAP, NODROP, NATIVE_WORKERS, CQE_SKIP: all of it is there since Linux 5.17. */
const FEATURES = (1 << 0) | (1 << 1) | (1 << 9) | (1 << 11);
const OFFSET_OF_RINGS = 0;
const OFFSET_OF_ENTRIES = 0x1000_0000;
const PROT_READ_WRITE = 0x3;
const MAP_SHARED_POPULATE = 0x8001;
/** All bits set. */
const MAP_FAILED = 2n ** 64n - 1n;
/** `struct io_uring_params`, in words of 32 bits, with the two rings' layouts in it. */
const PARAMS_WORDS = 30;
const PARAMS_FLAGS = 2;
const SUBMISSION_LAYOUT = 10;
const COMPLETION_LAYOUT = 20;
/** `struct io_uring_sqe` and `struct io_uring_cqe`. */
const ENTRY_WORDS = 16;
const END_WORDS = 4;
const { EAGAIN, EINTR, EINVAL, ENOSPC, ENOSYS } = constants.errno;

/** The bell rings when so small a part of what is in flight has ended, or when time is up. */
const TOGETHER_PART = 4;
/** Two entries are the bell's. */
const TRANSFERS_MAX = IO_RING_ENTRIES - 2;
/** What the kernel knows both by. */
const BELL_NUMBER = TRANSFERS_MAX;

/** Where things are in the memory shared with the kernel, in words of 32 bits. */
interface Layout {
  readonly head: number;
  readonly tail: number;
  readonly array: number;
  readonly endHead: number;
  readonly endTail: number;
  readonly ends: number;
}

interface Transfer {
  readonly operation: number;
  readonly fd: number;
  readonly buffer: Buffer;
  readonly offset: number;
  doneBytes: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class IoRing {
  readonly #address: (buffer: Buffer) => number;
  readonly #submitCall: (entries: number) => number;
  readonly #bell: RingBell;
  /** Shared with the kernel: heads and tails by `Atomics`, entries as they are. */
  readonly #rings: Int32Array;
  readonly #entries: Uint32Array;
  /** Where things are in `#rings`, in words. */
  readonly #at: Layout;
  readonly #mask: number;
  readonly #endMask: number;

  /** In flight, by the number that the kernel knows them by. */
  readonly #transfers: (Transfer | undefined)[] = [];
  readonly #free: number[] = [];
  /** Wait for a number, first come first served. */
  readonly #queue: Transfer[] = [];
  #isBellSet = false;
  /** The tail of the ring when the bell was in it. */
  #bellTail = 0;

  /** `address` is where a buffer's memory lies. Throws where the kernel has no such ring for us. */
  constructor(libc: LibraryHandle, address: (buffer: Buffer) => number) {
    this.#address = address;
    const setup = libc.func('long syscall(long number, uint32_t entries, void *params)');
    const enter = libc.func(
      'long syscall(long number, int fd, uint32_t submit, uint32_t ends, uint32_t flags, ' +
        'void *signals, size_t bytes)',
    );
    const params = new Uint32Array(new ArrayBuffer(4 * PARAMS_WORDS));
    params[PARAMS_FLAGS] = IORING_SETUP_COOP_TASKRUN;
    let fd: number = setup(SYS_IO_URING_SETUP, IO_RING_ENTRIES, params);
    if (fd < 0 && koffi.errno() === EINVAL) {
      params.fill(0);
      fd = setup(SYS_IO_URING_SETUP, IO_RING_ENTRIES, params);
    }
    if (fd < 0) throw systemError('io_uring_setup', koffi.errno());
    try {
      const [entries = 0, ends = 0, , , , features = 0] = params;
      if ((features & FEATURES) !== FEATURES) throw systemError('io_uring_setup', ENOSYS);
      const [head = 0, tail = 0, mask = 0, , , , array = 0] = params.subarray(SUBMISSION_LAYOUT);
      const [endHead = 0, endTail = 0, endMask = 0, , , endsAt = 0] =
        params.subarray(COMPLETION_LAYOUT);
      const map = mapper(libc, fd);
      const ringBytes = Math.max(array + 4 * entries, endsAt + 4 * END_WORDS * ends);
      this.#rings = new Int32Array(map(ringBytes, OFFSET_OF_RINGS));
      this.#entries = new Uint32Array(map(4 * ENTRY_WORDS * entries, OFFSET_OF_ENTRIES));
      this.#at = {
        head: head / 4,
        tail: tail / 4,
        array: array / 4,
        endHead: endHead / 4,
        endTail: endTail / 4,
        ends: endsAt / 4,
      };
      this.#mask = this.#rings[mask / 4]!;
      this.#endMask = this.#rings[endMask / 4]!;
      this.#bell = new RingBell(libc, address, () => this.#rung());
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    const register = libc.func(
      'long syscall(long n, int fd, uint32_t what, void *of, uint32_t many)',
    );
    // What cannot begin without waiting has a thread of the kernel each. With four a processor, as
    // it comes, a disk that hangs would have them all.
    const workers = new Uint32Array([TRANSFERS_MAX, 0]);
    register(SYS_IO_URING_REGISTER, fd, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, workers.length);
    for (let number = TRANSFERS_MAX - 1; number >= 0; number--) this.#free.push(number);
    this.#submitCall = (count) => enter(SYS_IO_URING_ENTER, fd, count, 0, 0, null, 0);
  }

  /** Fills the buffer. A disk has a fixed size, so a file that ends earlier is an error (EIO). */
  read(fd: number, buffer: Buffer, offset: number): Promise<void> {
    return this.#transfer(IORING_OP_READ, fd, buffer, offset);
  }

  /** Writes all of `data`. */
  write(fd: number, data: Buffer, offset: number): Promise<void> {
    return this.#transfer(IORING_OP_WRITE, fd, data, offset);
  }

  #transfer(operation: number, fd: number, buffer: Buffer, offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#begin({ operation, fd, buffer, offset, doneBytes: 0, resolve, reject });
      // At once: the disk would be idle while the rest of this turn's requests are made ready, and
      // to begin one takes the kernel longer than the system call.
      this.#submit();
    });
  }

  #begin(transfer: Transfer): void {
    const number = this.#free.pop();
    if (number === undefined) {
      this.#queue.push(transfer);
      return;
    }
    if (this.#inFlight === 1) this.#bell.keepAlive(true);
    this.#transfers[number] = transfer;
    const { operation, fd, buffer, offset, doneBytes } = transfer;
    const entry = {
      operation,
      flags: 0,
      fd,
      offset: offset + doneBytes,
      address: this.#address(buffer) + doneBytes,
      length: buffer.length - doneBytes,
      operationFlags: 0,
    };
    this.#enqueue(entry, number);
  }

  #enqueue(entry: RingEntry, number: number): void {
    const tail = this.#rings[this.#at.tail]!;
    const index = tail & this.#mask;
    const at = index * ENTRY_WORDS;
    const words = this.#entries;
    words.fill(0, at, at + ENTRY_WORDS);
    words[at] = entry.operation | (entry.flags << 8);
    words[at + 1] = entry.fd;
    put64(words, at + 2, entry.offset);
    put64(words, at + 4, entry.address);
    words[at + 6] = entry.length;
    words[at + 7] = entry.operationFlags;
    words[at + 8] = number;
    this.#rings[this.#at.array + index] = index;
    Atomics.store(this.#rings, this.#at.tail, (tail + 1) | 0);
  }

  /** Gives the kernel all that it has not taken yet, and the bell with it. */
  #submit(): void {
    this.#setBell();
    for (let left = this.#unsubmitted; left > 0; left = this.#unsubmitted) {
      const taken = this.#submitCall(left);
      if (taken <= 0) {
        if (taken < 0) endUnlessPassing('io_uring_enter', koffi.errno());
        // Out of memory: what ends makes room. The event loop looks after everybody meanwhile.
        this.#bell.ringByHand();
        break;
      }
      // What needed no waiting; others may begin in its place.
      this.#takeEnds();
    }
  }

  /** Transfers that have not ended. */
  get #inFlight(): number {
    return TRANSFERS_MAX - this.#free.length;
  }

  /** Entries that the kernel has not taken. */
  get #unsubmitted(): number {
    return (this.#rings[this.#at.tail]! - Atomics.load(this.#rings, this.#at.head)) | 0;
  }

  /** One bell at a time, and none while nothing is in flight. */
  #setBell(): void {
    if (this.#isBellSet || this.#inFlight === 0) return;
    this.#isBellSet = true;
    const ends = Math.max(1, Math.floor(this.#inFlight / TOGETHER_PART));
    for (const entry of this.#bell.entries(ends)) this.#enqueue(entry, BELL_NUMBER);
    this.#bellTail = this.#rings[this.#at.tail]!;
  }

  #rung(): void {
    // One that rang by hand may still stand in the ring.
    const taken = (Atomics.load(this.#rings, this.#at.head) - this.#bellTail) | 0;
    if (taken >= 0) this.#isBellSet = false;
    this.#takeEnds();
    this.#submit();
  }

  #takeEnds(): void {
    const rings = this.#rings;
    const { endHead, endTail, ends } = this.#at;
    let head = rings[endHead]!;
    const tail = Atomics.load(rings, endTail);
    for (; head !== tail; head = (head + 1) | 0) {
      const end = ends + (head & this.#endMask) * END_WORDS;
      const number = rings[end]!;
      // The bell tells of itself only when it cannot ring.
      if (number === BELL_NUMBER) this.#bell.ringByHand();
      else this.#ended(number, rings[end + 2]!);
    }
    Atomics.store(rings, endHead, head);
    if (this.#inFlight === 0) this.#bell.keepAlive(false);
  }

  /** `result`: bytes, or an errno below zero. */
  #ended(number: number, result: number): void {
    const transfer = this.#transfers[number]!;
    this.#transfers[number] = undefined;
    this.#free.push(number);
    const next = this.#queue.shift();
    if (next !== undefined) this.#begin(next);
    if (result > 0) transfer.doneBytes += result;
    const { operation, buffer, doneBytes, offset } = transfer;
    if (doneBytes === buffer.length) transfer.resolve();
    else if (result > 0 || result === -EINTR || result === -EAGAIN) this.#begin(transfer);
    else if (result === 0 && operation === IORING_OP_READ) {
      transfer.reject(hasShrunk(offset + doneBytes));
    } else {
      const call = operation === IORING_OP_READ ? 'read' : 'write';
      transfer.reject(systemError(call, result === 0 ? ENOSPC : -result));
    }
  }
}

function mapper(libc: LibraryHandle, fd: number): (bytes: number, offset: number) => ArrayBuffer {
  const mmap = libc.func(
    'void *mmap(void *where, size_t bytes, int protection, int flags, int fd, int64_t offset)',
  );
  return (bytes, offset) => {
    const at: bigint = mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, offset);
    if (at !== MAP_FAILED) return koffi.view(at, bytes);
    throw systemError('mmap', koffi.errno());
  };
}

function put64(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = value / 2 ** 32;
}

/**
 * Ends the process unless the same call may succeed in a moment: nobody knows what is in flight, so
 * no request may be told anything.
 */
function endUnlessPassing(call: string, errno: number): void {
  if (errno === EINTR || errno === EAGAIN) return;
  queueMicrotask(() => {
    throw systemError(call, errno);
  });
}
