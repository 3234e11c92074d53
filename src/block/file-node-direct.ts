import fs from 'node:fs';
import type { Syscalls } from '../sys/syscalls.ts';
import { BufferPool } from '../util/buffer-pool.ts';
import { DIRECT_KEPT_BYTES_MAX, KiB, MiB } from '../util/limits.ts';
import type { BlockwiseDisk } from './aligned.ts';
import { FileDisk, type FileHandle } from './file-node-io.ts';
import { pieces, WRITE_FUA } from './node.ts';

/**
 * Past the page cache (O_DIRECT): offset, length and memory must be multiples of a block.
 * `AlignedAccess` makes whole blocks of every request; memory that does not fit is replaced by
 * memory of ours and copied. The device itself answers, so every request is waited for.
 */
const PIECE_BYTES = MiB;
/** Memory is aligned to a page, which is enough for any device. */
const MEMORY_ALIGNMENT = 4 * KiB;

export class DirectDisk extends FileDisk implements BlockwiseDisk {
  readonly blockBytes: number;
  readonly #buffers: BufferPool;

  constructor(file: FileHandle, blockBytes: number) {
    super(file);
    this.blockBytes = blockBytes;
    this.#buffers = new BufferPool(DIRECT_KEPT_BYTES_MAX, (bytes) => this.allocate(bytes));
  }

  allocate(bytes: number): Buffer {
    return this.syscalls.alignedBuffer(bytes, MEMORY_ALIGNMENT);
  }

  override async read(offset: number, buffer: Buffer): Promise<void> {
    if (this.#isAligned(buffer)) return this.syscalls.read(this.fd, buffer, offset);
    await this.#inPieces(offset, buffer, async (at, part, own) => {
      await this.syscalls.read(this.fd, own, at);
      own.copy(part);
    });
  }

  override async write(offset: number, data: Buffer, flags: number): Promise<void> {
    if (this.#isAligned(data)) return this.#write(offset, data, flags);
    await this.#inPieces(offset, data, (at, part, own) => {
      part.copy(own);
      return this.#write(at, own, flags);
    });
  }

  #write(offset: number, data: Buffer, flags: number): Promise<void> {
    if ((flags & WRITE_FUA) === 0) return this.syscalls.write(this.fd, data, offset);
    return this.syscalls.writeDurable(this.fd, data, offset);
  }

  #isAligned(buffer: Buffer): boolean {
    return this.syscalls.isAligned(buffer, MEMORY_ALIGNMENT);
  }

  /** Lends aligned memory (`own`) of equal length for each part of `buffer`. */
  async #inPieces(
    offset: number,
    buffer: Buffer,
    action: (at: number, part: Buffer, own: Buffer) => Promise<void>,
  ): Promise<void> {
    for (const { offset: start, length } of pieces(0, buffer.length, PIECE_BYTES)) {
      const lent = this.#buffers.take(length);
      const part = buffer.subarray(start, start + length);
      await action(offset + start, part, lent.subarray(0, length)).finally(() =>
        this.#buffers.give(lent),
      );
    }
  }
}

/** The smallest block that direct reads of this file take, found by trying; up to a page. */
export function probeDirectBlock(syscalls: Syscalls, fd: number): number {
  const page = syscalls.alignedBuffer(MEMORY_ALIGNMENT, MEMORY_ALIGNMENT);
  for (let blockBytes = 512; blockBytes < MEMORY_ALIGNMENT; blockBytes *= 2) {
    try {
      fs.readSync(fd, page, 0, blockBytes, 0);
      return blockBytes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    }
  }
  return MEMORY_ALIGNMENT;
}
