import fc from 'fast-check';
import { type BlockNode, type Extent, WRITE_FUA, ZERO_MAY_UNMAP } from '../../src/block/node.ts';

/** Requests as data, and what they must do to a disk that is a plain buffer. */
export type Request =
  | { verb: 'write'; offset: number; length: number; seed: number; flags: number }
  | { verb: 'zero'; offset: number; length: number; flags: number }
  | { verb: 'discard'; offset: number; length: number; flags: number }
  | { verb: 'read'; offset: number; length: number }
  | { verb: 'flush' };

export class DiskModel {
  readonly content: Buffer;
  readonly #node: BlockNode;

  private constructor(node: BlockNode, content: Buffer) {
    this.#node = node;
    this.content = content;
  }

  /** Begins with what the disk holds now. */
  static async of(node: BlockNode): Promise<DiskModel> {
    return new DiskModel(node, await readAll(node));
  }

  /** Sends the request to the node and does the same to the model; a read is compared. */
  async apply(request: Request): Promise<void> {
    if (request.verb === 'flush') return this.#node.flush() ?? undefined;
    const { offset, length } = request;
    const end = offset + length;
    switch (request.verb) {
      case 'write': {
        const data = pattern(length, request.seed);
        await this.#node.write(offset, data, request.flags);
        data.copy(this.content, offset);
        return;
      }
      case 'zero':
        await this.#node.writeZeroes(offset, length, request.flags);
        this.content.fill(0, offset, end);
        return;
      case 'discard':
        // Nobody says what a discarded range reads as, so the model takes over what it finds.
        await this.#node.discard(offset, length, request.flags);
        await this.#node.read(offset, this.content.subarray(offset, end));
        return;
      case 'read': {
        const found = Buffer.alloc(length, 0xaa);
        await this.#node.read(offset, found);
        if (!found.equals(this.content.subarray(offset, end))) {
          throw new Error(`read of ${length} bytes at ${offset} differs from the model`);
        }
      }
    }
  }
}

/** Request lists with a liking for borders: offsets and lengths near multiples of 512 and 4096. */
export function anyRequests(size: number): fc.Arbitrary<Request[]> {
  const near = (max: number) =>
    fc.oneof(
      fc.nat(max),
      fc
        .tuple(
          fc.constantFrom(512, 4096, 65_536),
          fc.nat(Math.ceil(max / 512)),
          fc.constantFrom(-1, 0, 0, 0, 1),
        )
        .map(([unit, index, shift]) => {
          const at = unit * (index % (Math.floor(max / unit) + 1)) + shift;
          return Math.min(max, Math.max(0, at));
        }),
    );
  const range = fc
    .tuple(near(size), fc.oneof(near(9000), near(size)))
    .map(([offset, length]) => ({ offset, length: Math.min(length, size - offset) }));
  const fua = fc.constantFrom(0, 0, 0, WRITE_FUA);
  const zeroFlags = fc.constantFrom(0, ZERO_MAY_UNMAP, ZERO_MAY_UNMAP | WRITE_FUA);
  const request: fc.Arbitrary<Request> = fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .tuple(range, fc.nat(255), fua)
        .map(([at, seed, flags]) => ({ verb: 'write' as const, ...at, seed, flags })),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(range, zeroFlags)
        .map(([at, flags]) => ({ verb: 'zero' as const, ...at, flags })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(range, fua)
        .map(([at, flags]) => ({ verb: 'discard' as const, ...at, flags })),
    },
    { weight: 3, arbitrary: range.map((at) => ({ verb: 'read' as const, ...at })) },
    { weight: 1, arbitrary: fc.constant({ verb: 'flush' as const }) },
  );
  return fc.array(request, { minLength: 1, maxLength: 30 });
}

/** Bytes that differ from one position, and one seed, to the next; seed 0 is zeroes. */
export function pattern(length: number, seed: number): Buffer {
  const data = Buffer.alloc(length);
  if (seed === 0) return data;
  for (let at = 0; at < length; at++) data[at] = (seed * 31 + at * 7 + (at >>> 8)) & 0xff;
  return data;
}

export async function readAll(node: BlockNode): Promise<Buffer> {
  const content = Buffer.alloc(node.size, 0xaa);
  await node.read(0, content);
  return content;
}

/** The status of a whole range, asked for as often as it takes. */
export async function statusOf(
  node: BlockNode,
  offset: number,
  length: number,
): Promise<readonly Extent[]> {
  const extents: Extent[] = [];
  for (let at = offset; at < offset + length; ) {
    const some = await node.blockStatus(at, offset + length - at, 16);
    extents.push(...some);
    const last = some.at(-1)!;
    at = last.offset + last.length;
  }
  return extents;
}
