import fs from 'node:fs';
import { constants } from 'node:os';
import koffi, { type LibraryHandle } from 'koffi';
import { IO_RING_ENTRIES } from '../util/limits.ts';
import { hasShrunk, systemError } from './system-error.ts';

/**
 * Reads and writes that wait for a disk, by Linux's io_uring (io_uring(7)): what is asked for in
 * one turn of the event loop begins with one system call, and what has ended meanwhile is told
 * together. A thread of libuv's pool waits for the next end while there is one to come. With the
 * pool alone each takes a wake-up there and one back: 4 KiB reads of a cold file, depth 16, cost
 * 34 us of processor time that way and 16 this way.
 *
 * The kernel works on the memory of buffers behind our back: each is kept until its transfer ends.
 */
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const IORING_ENTER_GETEVENTS = 1 << 0;
const IORING_ENTER_EXT_ARG = 1 << 3;
const IORING_OP_READ = 22;
const IORING_OP_WRITE = 23;
/** Ends are noted when this thread is in the kernel anyway: no interrupts (Linux 5.19). */
const IORING_SETUP_COOP_TASKRUN = 1 << 8;
/** SINGLE_MMAP, NODROP, EXT_ARG, NATIVE_WORKERS: all of it is there since Linux 5.12. */
const FEATURES = (1 << 0) | (1 << 1) | (1 << 8) | (1 << 9);
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
const { EAGAIN, EINTR, EINVAL, ENOSPC, ENOSYS, ETIME } = constants.errno;

/**
 * A wait is over when a quarter of what is in flight has ended, or after this time: to wake up for
 * each would cost a busy machine more than the moment that some wait for others.
 */
const TOGETHER_PART = 4;
const TOGETHER_NS = 100_000;

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
  readonly #waitCall: (
    ends: number,
    onOver: (failure: Error | null, result: number) => void,
  ) => void;
  /** Shared with the kernel: heads and tails by `Atomics`, entries as they are. */
  readonly #rings: Int32Array;
  readonly #entries: Uint32Array;
  /** Where things are in `#rings`, in words. */
  readonly #at: { tail: number; array: number; endHead: number; endTail: number; ends: number };
  readonly #mask: number;
  readonly #endMask: number;

  /** In flight, by the number that the kernel knows them by. */
  readonly #transfers: (Transfer | undefined)[] = [];
  readonly #free: number[] = [];
  /** Wait for a number, first come first served. */
  readonly #queue: Transfer[] = [];
  #unsubmitted = 0;
  #isWaiting = false;

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
    const [entries = 0, ends = 0, , , , features = 0] = params;
    if ((features & FEATURES) !== FEATURES) {
      fs.closeSync(fd);
      throw systemError('io_uring_setup', ENOSYS);
    }
    const [, tail = 0, mask = 0, , , , array = 0] = params.subarray(SUBMISSION_LAYOUT);
    const [endHead = 0, endTail = 0, endMask = 0, , , endsAt = 0] =
      params.subarray(COMPLETION_LAYOUT);
    const map = mapper(libc, fd);
    const ringBytes = Math.max(array + 4 * entries, endsAt + 4 * END_WORDS * ends);
    this.#rings = new Int32Array(map(ringBytes, OFFSET_OF_RINGS));
    this.#entries = new Uint32Array(map(4 * ENTRY_WORDS * entries, OFFSET_OF_ENTRIES));
    this.#at = {
      tail: tail / 4,
      array: array / 4,
      endHead: endHead / 4,
      endTail: endTail / 4,
      ends: endsAt / 4,
    };
    this.#mask = this.#rings[mask / 4]!;
    this.#endMask = this.#rings[endMask / 4]!;
    for (let number = IO_RING_ENTRIES - 1; number >= 0; number--) this.#free.push(number);
    this.#submitCall = (count) => enter(SYS_IO_URING_ENTER, fd, count, 0, 0, null, 0);
    const flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    const timeout = timeoutArgument(address);
    this.#waitCall = (ends, onOver) => {
      if (ends === 1) {
        enter.async(SYS_IO_URING_ENTER, fd, 0, 1, IORING_ENTER_GETEVENTS, null, 0, onOver);
      } else {
        enter.async(SYS_IO_URING_ENTER, fd, 0, ends, flags, timeout, timeout.byteLength, onOver);
      }
    };
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
    });
  }

  #begin(transfer: Transfer): void {
    const number = this.#free.pop();
    if (number === undefined) {
      this.#queue.push(transfer);
      return;
    }
    this.#transfers[number] = transfer;
    this.#enqueue(number, transfer);
    // Behind whatever else this turn of the event loop has to ask for.
    if (this.#unsubmitted++ === 0) queueMicrotask(() => this.#submit());
  }

  #enqueue(number: number, transfer: Transfer): void {
    const { operation, fd, buffer, offset, doneBytes } = transfer;
    const tail = this.#rings[this.#at.tail]!;
    const index = tail & this.#mask;
    const entry = index * ENTRY_WORDS;
    const entries = this.#entries;
    entries.fill(0, entry, entry + ENTRY_WORDS);
    entries[entry] = operation;
    entries[entry + 1] = fd;
    put64(entries, entry + 2, offset + doneBytes);
    put64(entries, entry + 4, this.#address(buffer) + doneBytes);
    entries[entry + 6] = buffer.length - doneBytes;
    entries[entry + 8] = number;
    this.#rings[this.#at.array + index] = index;
    Atomics.store(this.#rings, this.#at.tail, (tail + 1) | 0);
  }

  #submit(): void {
    while (this.#unsubmitted > 0) {
      const taken = this.#submitCall(this.#unsubmitted);
      if (taken >= 0) {
        this.#unsubmitted -= taken;
        continue;
      }
      assertPassing('io_uring_enter', koffi.errno());
      // Out of memory: what ends makes room.
      if (this.#inKernel > 0) break;
    }
    this.#wait();
  }

  /** Transfers that the kernel knows of. */
  get #inKernel(): number {
    return IO_RING_ENTRIES - this.#free.length - this.#unsubmitted;
  }

  /** One wait at a time, and none while nothing is in flight: it would keep the process alive. */
  #wait(): void {
    if (this.#isWaiting || this.#inKernel === 0) return;
    this.#isWaiting = true;
    const ends = Math.max(1, Math.floor(this.#inKernel / TOGETHER_PART));
    this.#waitCall(ends, (failure, result) => {
      if (failure !== null) throw failure;
      if (result < 0) assertPassing('io_uring_enter', koffi.errno());
      this.#isWaiting = false;
      this.#takeEnds();
      this.#submit();
    });
  }

  #takeEnds(): void {
    const rings = this.#rings;
    const { endHead, endTail, ends } = this.#at;
    let head = rings[endHead]!;
    const tail = Atomics.load(rings, endTail);
    for (; head !== tail; head = (head + 1) | 0) {
      const end = ends + (head & this.#endMask) * END_WORDS;
      this.#ended(rings[end]!, rings[end + 2]!);
    }
    Atomics.store(rings, endHead, head);
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
    const errno = koffi.errno();
    fs.closeSync(fd);
    throw systemError('mmap', errno);
  };
}

/**
 * `struct io_uring_getevents_arg`: the time-out is a pointer in its third word of 64 bits, to what
 * lives as long as the argument.
 */
function timeoutArgument(address: (buffer: Buffer) => number): BigUint64Array {
  const timespec = Buffer.allocUnsafeSlow(16);
  timespec.writeBigInt64LE(0n, 0);
  timespec.writeBigInt64LE(BigInt(TOGETHER_NS), 8);
  const argument = new BigUint64Array(new ArrayBuffer(24));
  argument[2] = BigInt(address(timespec));
  return Object.assign(argument, { timespec });
}

function put64(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = value / 2 ** 32;
}

/** Throws unless the same call may succeed in a moment: then nobody knows what is in flight. */
function assertPassing(call: string, errno: number): void {
  if (errno !== EINTR && errno !== EAGAIN && errno !== ETIME) throw systemError(call, errno);
}
