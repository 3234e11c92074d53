import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import {
  type BlockNode,
  type Extent,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from '../../src/block/node.ts';
import { BlockError } from '../../src/util/errors.ts';
import { anyRequests, DiskModel, pattern, readAll, statusOf } from './disk-model.ts';

/**
 * What every `BlockNode` must do, whatever is behind it. A node's own test is six lines: make one,
 * take it away.
 */
export interface NodeUnderTest {
  readonly node: BlockNode;
  dispose(): Promise<void>;
}

/** Makes a node over a fresh disk of zeroes. */
export type MakeNode = (options: { size: number; readOnly: boolean }) => Promise<NodeUnderTest>;

/** Not a multiple of the pages, clusters and chunks that nodes like to work in. */
const SIZE = 256 * 1024 + 3 * 512;
const RUNS = 25;

export function blockNodeSuite(title: string, make: MakeNode): void {
  describe(`block node: ${title}`, () => {
    let under: NodeUnderTest | undefined;
    let node: BlockNode;

    beforeEach(async () => {
      under = await make({ size: SIZE, readOnly: false });
      node = under.node;
    });
    afterEach(async () => {
      const used = under;
      under = undefined;
      await used?.dispose();
    });

    it('has the size of its disk and reads as zeroes', async () => {
      expect(node.size).toBe(SIZE);
      await expectContent(node, Buffer.alloc(SIZE));
    });

    it('states limits that make sense', () => {
      const { requestAlignment, preferredBytes, transferBytesMax } = node.limits;
      expect(Number.isInteger(Math.log2(requestAlignment))).toBe(true);
      expect(Number.isInteger(Math.log2(preferredBytes))).toBe(true);
      expect(preferredBytes).toBeGreaterThanOrEqual(512);
      expect(transferBytesMax).toBeGreaterThanOrEqual(preferredBytes);
    });

    it('does what a plain buffer does, request after request', async () => {
      await fc.assert(
        fc.asyncProperty(anyRequests(SIZE), async (requests) => {
          const model = await DiskModel.of(node);
          for (const request of requests) await model.apply(request);
          await expectContent(node, model.content);
        }),
        { numRuns: RUNS },
      );
    });

    it.each([
      ['one byte', 12345, 1],
      ['across a page at odd offsets', 4095, 4099],
      ['less than a sector at an odd offset', 511 + 4096, 3],
      ['the last byte', SIZE - 1, 1],
      ['up to the end, from an odd offset', SIZE - 65_537, 65_537],
      ['the whole disk', 0, SIZE],
    ])('reads back %s', async (_what, offset, length) => {
      const data = pattern(length, 7);
      await node.write(offset, data);
      const back = Buffer.alloc(length);
      await node.read(offset, back);
      expect(back.equals(data)).toBe(true);
      const rest = await readAll(node);
      rest.fill(0, offset, offset + length);
      expect(rest.equals(Buffer.alloc(SIZE))).toBe(true);
    });

    it('takes empty requests', async () => {
      await node.write(0, Buffer.alloc(0), WRITE_FUA);
      await node.read(SIZE, Buffer.alloc(0));
      await node.writeZeroes(SIZE, 0);
      await node.discard(0, 0);
      await expectContent(node, Buffer.alloc(SIZE));
    });

    it('does not keep what it was given to write', async () => {
      const data = pattern(10_000, 1);
      await node.write(777, data);
      data.fill(0xff);
      const back = Buffer.alloc(10_000);
      await node.read(777, back);
      expect(back.equals(pattern(10_000, 1))).toBe(true);
    });

    it('keeps neighbours that are written at the same time', async () => {
      const parts = Array.from({ length: 40 }, (_, index) => ({
        offset: 1000 + index * 333,
        data: pattern(333, index),
      }));
      await Promise.all(parts.map(({ offset, data }) => node.write(offset, data)));
      const back = Buffer.alloc(40 * 333);
      await node.read(1000, back);
      expect(back.equals(Buffer.concat(parts.map(({ data }) => data)))).toBe(true);
    });

    it('ends in one of the values when writes overlap', async () => {
      const writes = Array.from({ length: 12 }, (_, index) => ({
        offset: 8192 + index * 100,
        data: Buffer.alloc(4096, index + 1),
      }));
      await Promise.all(writes.map(({ offset, data }) => node.write(offset, data)));
      const after = await readAll(node);
      after.forEach((byte, at) => {
        const covering = writes.filter((w) => at >= w.offset && at < w.offset + w.data.length);
        const allowed = covering.map(({ data }) => data[0]!);
        if (!(allowed.length === 0 ? byte === 0 : allowed.includes(byte))) {
          throw new Error(`byte ${at} is ${byte}, which nobody wrote there`);
        }
      });
    });

    describe('zeroes', () => {
      it.each([
        ['without unmap', 0],
        ['with unmap', ZERO_MAY_UNMAP],
        ['with unmap and FUA', ZERO_MAY_UNMAP | WRITE_FUA],
      ])('what it is told to, %s', async (_what, flags) => {
        const data = pattern(SIZE, 3);
        for (const [offset, length] of [
          [4096, 65_536],
          [100_001, 70_003],
          [SIZE - 1000, 1000],
        ] as const) {
          await node.write(0, data);
          await node.writeZeroes(offset, length, flags);
          const expected = Buffer.from(data).fill(0, offset, offset + length);
          await expectContent(node, expected);
        }
      });

      it('fast or not at all when told so', async () => {
        const data = pattern(SIZE, 3);
        await node.write(0, data);
        const zeroed = await succeeds(() =>
          node.writeZeroes(65_536, 65_536, ZERO_NO_FALLBACK | ZERO_MAY_UNMAP),
        );
        const expected = zeroed ? Buffer.from(data).fill(0, 65_536, 131_072) : data;
        await expectContent(node, expected);
      });
    });

    it('discards nothing but the range', async () => {
      const data = pattern(SIZE, 5);
      await node.write(0, data);
      await node.discard(70_001, 100_003);
      const after = await readAll(node);
      after.copy(data, 70_001, 70_001, 170_004);
      expect(after.equals(data)).toBe(true);
    });

    it('keeps what is discarded when it is told to, and finds zeroes', async () => {
      const data = pattern(SIZE, 5);
      await node.write(0, data);
      const { space } = node;
      node.space = { discard: 'ignore', detectZeroes: 'on' };
      await node.discard(0, SIZE, WRITE_FUA);
      await node.write(70_001, Buffer.alloc(100_003), WRITE_FUA);
      node.space = space;
      await expectContent(node, data.fill(0, 70_001, 170_004));
    });

    it('flushes, and writes through', async () => {
      await node.write(0, pattern(5000, 1));
      await Promise.all([node.flush(), node.flush(), node.flush()]);
      await node.write(4096, pattern(5000, 2), WRITE_FUA);
      await node.flush();
      const back = Buffer.alloc(5000);
      await node.read(4096, back);
      expect(back.equals(pattern(5000, 2))).toBe(true);
    });

    it('prefetches without an effect', async () => {
      await node.write(0, pattern(SIZE, 1));
      await node.prefetch(4096, 100_000);
      await expectContent(node, pattern(SIZE, 1));
    });

    describe('block status', () => {
      it('partitions any range and says zero only of zeroes', async () => {
        await node.write(65_536, pattern(65_536, 1));
        await node.write(SIZE - 512, pattern(512, 1));
        await fc.assert(
          fc.asyncProperty(
            fc.nat(SIZE - 1),
            fc.integer({ min: 1, max: SIZE }),
            async (offset, length) => {
              const end = Math.min(offset + length, SIZE);
              const extents = await statusOf(node, offset, end - offset);
              expectPartition(extents, offset, end);
              for (const extent of extents) await expectTruth(node, extent);
            },
          ),
          { numRuns: RUNS },
        );
      });

      it('gives no more extents than asked for', async () => {
        for (let at = 0; at + 65_536 < SIZE; at += 131_072) await node.write(at, pattern(4096, 1));
        const extents = await node.blockStatus(0, SIZE, 1);
        expect(extents).toHaveLength(1);
        expect(extents[0]!.offset).toBe(0);
      });

      it('follows changes', async () => {
        await statusOf(node, 0, SIZE);
        await node.write(131_072, pattern(4096, 1));
        expect((await extentAt(node, 131_072)).zero).toBe(false);
        await node.writeZeroes(131_072, 65_536, ZERO_MAY_UNMAP);
        await expectTruth(node, await extentAt(node, 131_072));
        await node.write(131_072, pattern(4096, 2));
        expect((await extentAt(node, 131_072)).zero).toBe(false);
      });
    });

    it('records every kind of change in its bitmaps', async () => {
      const bitmap = new DirtyBitmap({ name: 'b', size: SIZE, granularity: 512 });
      const other = new DirtyBitmap({ name: 'c', size: SIZE, granularity: 512, enabled: false });
      node.addBitmap(bitmap);
      node.addBitmap(other);
      await node.write(511, Buffer.alloc(2, 1));
      expect([bitmap.isDirty(0), bitmap.isDirty(512), bitmap.count]).toEqual([true, true, 1024]);
      await node.writeZeroes(10_240, 512);
      await node.discard(20_480, 512);
      // What changes nothing leaves nothing to copy.
      const { discards } = node;
      const bytes = discards ? 2048 : 1536;
      expect([bitmap.isDirty(10_240), bitmap.isDirty(20_480)]).toEqual([true, discards]);
      expect(bitmap.count).toBe(bytes);
      await node.read(0, Buffer.alloc(4096));
      await node.flush();
      expect(bitmap.count).toBe(bytes);
      expect(other.isClean).toBe(true);
      node.removeBitmap(bitmap);
      node.removeBitmap(other);
    });

    it('has settled when nothing is in flight', async () => {
      const writing = node.write(0, pattern(SIZE, 1));
      await node.settled();
      await expectContent(node, pattern(SIZE, 1));
      await writing;
    });
  });

  it(`block node: ${title} refuses changes when it is read-only`, async () => {
    const { node, dispose } = await make({ size: SIZE, readOnly: true });
    try {
      expect(node.readOnly).toBe(true);
      for (const change of [
        () => node.write(0, Buffer.alloc(512, 1)),
        () => node.writeZeroes(0, 512),
        () => node.discard(0, 512),
      ]) {
        const error = await failureOf(change);
        expect(error).toBeInstanceOf(BlockError);
        expect((error as BlockError).code).toBe('EPERM');
      }
      await node.flush();
      await expectContent(node, Buffer.alloc(SIZE));
    } finally {
      await dispose();
    }
  });
}

/** Not `toEqual`: it takes a second to compare buffers of this size byte by byte. */
async function expectContent(node: BlockNode, expected: Buffer): Promise<void> {
  expect((await readAll(node)).equals(expected)).toBe(true);
}

async function failureOf(action: () => unknown): Promise<unknown> {
  try {
    await action();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** Whether it was done; ENOTSUP is the only failure allowed. */
async function succeeds(action: () => unknown): Promise<boolean> {
  const error = await failureOf(action);
  if (error !== undefined) expect((error as BlockError).code).toBe('ENOTSUP');
  return error === undefined;
}

function expectPartition(extents: readonly Extent[], offset: number, end: number): void {
  let at = offset;
  for (const extent of extents) {
    expect(extent.offset).toBe(at);
    expect(extent.length).toBeGreaterThan(0);
    at += extent.length;
  }
  expect(at).toBe(end);
}

async function expectTruth(node: BlockNode, extent: Extent): Promise<void> {
  if (!extent.zero) return;
  const content = Buffer.alloc(extent.length, 1);
  await node.read(extent.offset, content);
  expect(content.equals(Buffer.alloc(extent.length))).toBe(true);
}

async function extentAt(node: BlockNode, offset: number): Promise<Extent> {
  return (await node.blockStatus(offset, 512, 1))[0]!;
}
