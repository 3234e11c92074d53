import {
  CHUNK_HEADER_BYTES,
  OFFSET_DATA_PREFIX_BYTES,
  OFFSET_HOLE_BYTES,
  type RequestHeader,
} from '../../protocol/nbd/transmission.ts';
import type { BlockNode, Completion, DiskRange } from '../block/node.ts';
import { allEnded } from '../util/all-ended.ts';
import { assert } from '../util/assert.ts';
import { SPARSE_READ_PIECES_MAX } from '../util/limits.ts';
import type { Replies } from './replies.ts';

/**
 * The answer to a long READ of a disk that knows its holes: what reads as zeroes is said in 32
 * bytes, not sent. Header and data of each part stand one behind the other in one buffer.
 */
interface Part extends DiskRange {
  readonly zero: boolean;
}

export class SparseRead {
  readonly bytes: number;
  readonly #parts: readonly Part[];

  /** Undefined when the range holds data only: then one chunk says it shorter. */
  static of(node: BlockNode, range: DiskRange): SparseRead | undefined {
    const parts = partsOf(node, range);
    return parts.some(({ zero }) => zero) ? new SparseRead(parts) : undefined;
  }

  private constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.bytes = parts.reduce((sum, part) => sum + chunkBytes(part), 0);
  }

  /** Writes the whole answer to the beginning of `buffer`, which must hold `bytes`. */
  fill(buffer: Buffer, node: BlockNode, replies: Replies, request: RequestHeader): Completion {
    const reads: Promise<void>[] = [];
    let at = 0;
    for (const [index, part] of this.#parts.entries()) {
      const last = index === this.#parts.length - 1;
      const end = at + chunkBytes(part);
      if (part.zero) replies.writeHole(buffer, at, request, part, last);
      else {
        replies.writeDataPrefix(buffer, at, request, part, last);
        const done = read(node, part, buffer.subarray(end - part.length, end));
        if (done !== undefined) reads.push(done);
      }
      at = end;
    }
    return reads.length === 0 ? undefined : allEnded(reads);
  }
}

function partsOf(node: BlockNode, { offset, length }: DiskRange): readonly Part[] {
  const parts: Part[] = [];
  const end = offset + length;
  const add = (part: Part) => {
    const before = parts.at(-1);
    if (before?.zero !== part.zero) parts.push(part);
    else parts[parts.length - 1] = { ...before, length: before.length + part.length };
  };
  let at = offset;
  const status = node.blockStatus(offset, length, SPARSE_READ_PIECES_MAX);
  assert(!(status instanceof Promise), 'the node tells its block status at once');
  for (const { length: bytes, zero } of status) {
    add({ offset: at, length: bytes, zero });
    at += bytes;
  }
  if (at < end) add({ offset: at, length: end - at, zero: false });
  return parts;
}

function chunkBytes({ zero, length }: Part): number {
  return CHUNK_HEADER_BYTES + (zero ? OFFSET_HOLE_BYTES : OFFSET_DATA_PREFIX_BYTES + length);
}

/** A failure at once must not leave other reads behind that still fill the buffer. */
function read(node: BlockNode, { offset }: Part, data: Buffer): Completion {
  try {
    return node.read(offset, data);
  } catch (error) {
    return Promise.reject(error);
  }
}
