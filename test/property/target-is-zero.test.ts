import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { DirtyMap } from '../../src/bitmap/dirty-map.ts';
import { type BlockNode, type Extent, pieces } from '../../src/block/node.ts';
import { markInitial } from '../../src/job/mirror-scan.ts';

const GRANULE = 4096;

/** A disk of runs, zero or data; answers reach `reach` bytes and have few extents at most. */
class Runs implements Pick<BlockNode, 'size' | 'blockStatus'> {
  readonly size: number;
  readonly #granules: readonly boolean[];
  readonly #reach: number;
  readonly #extentsMax: number;
  /** On their way now, and at most so far. */
  #asked = 0;
  mostAsked = 0;
  answers = 0;

  constructor(granules: readonly boolean[], reach: number, extentsMax: number) {
    this.#granules = granules;
    this.size = granules.length * GRANULE;
    this.#reach = reach;
    this.#extentsMax = extentsMax;
  }

  async blockStatus(offset: number, length: number): Promise<readonly Extent[]> {
    expect(offset + length).toBeLessThanOrEqual(this.size);
    this.mostAsked = Math.max(this.mostAsked, ++this.#asked);
    await Promise.resolve();
    this.#asked--;
    this.answers++;
    const extents: Extent[] = [];
    for (const piece of pieces(offset, Math.min(length, this.#reach), GRANULE)) {
      const zero = this.#granules[piece.offset / GRANULE]!;
      const last = extents.at(-1);
      if (last?.zero === zero) last.length += piece.length;
      else if (extents.length === this.#extentsMax) break;
      else extents.push({ ...piece, hole: zero, zero });
    }
    return extents;
  }
}

/** Granules to copy from a source that is data in its first granule alone. */
async function toCopy(target: Runs): Promise<number> {
  const source = new Runs(
    Array.from({ length: target.size / GRANULE }, (_, index) => index > 0),
    Number.POSITIVE_INFINITY,
    4,
  );
  const bitmap = new DirtyBitmap({ size: target.size, granularity: GRANULE });
  await markInitial({
    sync: 'full',
    source: source as unknown as BlockNode,
    target: target as unknown as BlockNode,
    targetIsZero: false,
    dirty: new DirtyMap(bitmap),
    pausePoint: async () => true,
  });
  return bitmap.count / GRANULE;
}

describe('whether a target is all zero', () => {
  it('is found whatever its answers are like', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 300 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 8 }),
        async (random, allZero, reach, extentsMax) => {
          const granules = allZero ? random.map(() => true) : random;
          const target = new Runs(granules, reach * GRANULE, extentsMax);
          expect(await toCopy(target)).toBe(granules.includes(false) ? granules.length : 1);
        },
      ),
    );
  });

  it('is asked in several questions at a time, and no more than are needed', async () => {
    const target = new Runs(new Array(320).fill(true), 10 * GRANULE, 8);
    expect(await toCopy(target)).toBe(1);
    expect(target.mostAsked).toBe(16);
    expect(target.answers).toBe(32);
  });

  it('is asked once where the answer is no at the beginning', async () => {
    const granules = new Array(320).fill(true).with(0, false);
    const target = new Runs(granules, 10 * GRANULE, 8);
    expect(await toCopy(target)).toBe(320);
    expect(target.answers).toBe(1);
  });
});
