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
const BLOCK_BYTES_MIN = 512;
const BLOCK_BYTES_MAX = 64 * KiB;
const PAGE_BYTES = 4 * KiB;
/** Memory is aligned to a page, which is enough for any device. */
const MEMORY_ALIGNMENT = PAGE_BYTES;

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

  override read(offset: number, buffer: Buffer): Promise<void> {
    if (this.#isAligned(buffer)) return this.syscalls.read(this.fd, buffer, offset);
    return this.#inPieces(offset, buffer, (at, part, own) =>
      this.syscalls.read(this.fd, own, at).then(() => {
        own.copy(part);
      }),
    );
  }

  override write(offset: number, data: Buffer, flags: number): Promise<void> {
    if (this.#isAligned(data)) return this.#write(offset, data, flags);
    return this.#inPieces(offset, data, (at, part, own) => {
      part.copy(own);
      return this.#write(at, own, flags);
    });
  }

  #write(offset: number, data: Buffer, flags: number): Promise<void> {
    if ((flags & WRITE_FUA) === 0) return this.syscalls.write(this.fd, data, offset);
    return this.writeDurable(offset, data);
  }

  #isAligned(buffer: Buffer): boolean {
    return this.syscalls.isAligned(buffer, MEMORY_ALIGNMENT);
  }

  /** Lends aligned memory (`own`) of equal length for each part of `buffer`. */
  #inPieces(offset: number, buffer: Buffer, action: PieceAction): Promise<void> {
    if (buffer.length <= PIECE_BYTES) return this.#lending(offset, buffer, action);
    return this.#oneByOne(offset, buffer, action);
  }

  async #oneByOne(offset: number, buffer: Buffer, action: PieceAction): Promise<void> {
    for (const { offset: start, length } of pieces(0, buffer.length, PIECE_BYTES)) {
      await this.#lending(offset + start, buffer.subarray(start, start + length), action);
    }
  }

  #lending(at: number, part: Buffer, action: PieceAction): Promise<void> {
    const lent = this.#buffers.take(part.length);
    const giveBack = () => this.#buffers.give(lent);
    const done = action(at, part, lent.subarray(0, part.length));
    done.then(giveBack, giveBack);
    return done;
  }
}

type PieceAction = (at: number, part: Buffer, own: Buffer) => Promise<void>;

/**
 * The smallest block that direct reads of this file take, found by trying; up to 64 KiB. Tried
 * where there is data: of a hole the kernel reads any part, whatever the disk under it takes. A
 * file that is all hole is read and written by the page, which nearly any disk takes.
 */
export function probeDirectBlock(syscalls: Syscalls, fd: number, size: number): number {
  const { data, end } = syscalls.extentAt(fd, 0, size);
  if (!data && end === size && size % PAGE_BYTES === 0) return PAGE_BYTES;
  const at = data || end === size ? 0 : end;
  const block = syscalls.alignedBuffer(BLOCK_BYTES_MAX, BLOCK_BYTES_MAX);
  for (let blockBytes = BLOCK_BYTES_MIN; blockBytes < BLOCK_BYTES_MAX; blockBytes *= 2) {
    try {
      fs.readSync(fd, block, 0, blockBytes, at);
      return blockBytes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    }
  }
  return BLOCK_BYTES_MAX;
}
