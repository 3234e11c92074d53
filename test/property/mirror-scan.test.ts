import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { DirtyMap } from '../../src/bitmap/dirty-map.ts';
import { type BlockNode, type Extent, pieces } from '../../src/block/node.ts';
import { markInitial } from '../../src/job/mirror-scan.ts';
import { BlockError } from '../../src/util/errors.ts';
import { MiB } from '../../src/util/limits.ts';

const GRANULE = MiB;

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

/** A granule is zero where its letter is `.`. */
const runs = (granules: string, reach = Number.POSITIVE_INFINITY, extentsMax = 1024) =>
  new Runs(
    [...granules].map((letter) => letter === '.'),
    reach,
    extentsMax,
  );

/** Which granules a full mirror copies, in the same form. */
async function toCopy(
  source: Runs,
  target: Pick<BlockNode, 'size' | 'blockStatus'>,
  options: { trustsZeroes?: boolean; targetIsZero?: boolean; steps?: number } = {},
): Promise<string> {
  const { trustsZeroes = true, targetIsZero = false, steps = Number.POSITIVE_INFINITY } = options;
  const bitmap = new DirtyBitmap({ size: source.size, granularity: GRANULE });
  let step = 0;
  await markInitial({
    sync: 'full',
    source: source as unknown as BlockNode,
    target: target as unknown as BlockNode,
    flushTarget: async () => {},
    targetIsZero,
    trustsZeroes,
    dirty: new DirtyMap(bitmap),
    pausePoint: async () => step++ < steps,
  });
  const granules = [...pieces(0, source.size, GRANULE)];
  return granules.map(({ offset }) => (bitmap.isDirty(offset) ? 'D' : '.')).join('');
}

const either = (one: string, other: string) =>
  [...one].map((letter, index) => (letter === 'D' || other[index] === 'D' ? 'D' : '.')).join('');

describe('what a full mirror copies', () => {
  const disks = fc
    .array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 300 })
    .map((granules) => ({
      source: granules.map(([zero]) => (zero ? '.' : 'D')).join(''),
      target: granules.map(([, zero]) => (zero ? '.' : 'D')).join(''),
    }));

  it('is what either side has as data', async () => {
    await fc.assert(
      fc.asyncProperty(disks, fc.integer({ min: 16, max: 400 }), async (disk, reach) => {
        const copied = await toCopy(runs(disk.source), runs(disk.target, reach * GRANULE));
        expect(copied).toBe(either(disk.source, disk.target));
      }),
    );
  });

  it('is never less than that, however little an answer tells', async () => {
    await fc.assert(
      fc.asyncProperty(
        disks,
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 8 }),
        async (disk, reach, extentsMax) => {
          const target = runs(disk.target, reach * GRANULE, extentsMax);
          const copied = await toCopy(runs(disk.source, Infinity, extentsMax), target);
          expect(either(copied, either(disk.source, disk.target))).toBe(copied);
        },
      ),
    );
  });

  it('is what the source has when somebody promises that the target is zero', async () => {
    const target = runs('DDDD');
    expect(await toCopy(runs('D.D.'), target, { targetIsZero: true })).toBe('D.D.');
    expect(target.answers).toBe(0);
  });

  it('is everything when zeroes of a target that has data are not to be trusted', async () => {
    expect(await toCopy(runs('D..'), runs('.D.'), { trustsZeroes: false })).toBe('DDD');
    expect(await toCopy(runs('D..'), runs('...'), { trustsZeroes: false })).toBe('D..');
  });

  it('is everything when the target does not answer', async () => {
    const blockStatus = () => Promise.reject(new BlockError('EIO', 'no'));
    expect(await toCopy(runs('D..'), { size: 3 * GRANULE, blockStatus })).toBe('DDD');
  });
});

describe('a target', () => {
  it('is asked several questions at a time, and no more than are needed', async () => {
    const target = runs('.'.repeat(640), 20 * GRANULE);
    expect(await toCopy(runs(`D${'.'.repeat(639)}`), target)).toBe(`D${'.'.repeat(639)}`);
    expect(target.mostAsked).toBe(16);
    expect(target.answers).toBe(32);
  });

  it('that has data everywhere is asked once, and the source is not', async () => {
    const [source, target] = [runs('D'.repeat(64)), runs('D'.repeat(64))];
    expect(await toCopy(source, target)).toBe('D'.repeat(64));
    expect([source.answers, target.answers]).toEqual([0, 1]);
  });

  it('that tells of little at a time is asked no further: the rest is taken for data', async () => {
    const source = () => runs('.'.repeat(128));
    const target = runs('D.'.repeat(64), Infinity, 15);
    expect(await toCopy(source(), target)).toBe(`${'D.'.repeat(7)}${'D'.repeat(114)}`);
    expect(target.answers).toBe(1);
    expect(await toCopy(source(), runs('D.'.repeat(64), Infinity, 16))).toBe('D.'.repeat(64));
  });

  it('that fails in the midst has data from there on', async () => {
    const target = runs('.'.repeat(64), 32 * GRANULE);
    const blockStatus = (offset: number, length: number) =>
      offset < 32 * GRANULE
        ? target.blockStatus(offset, length)
        : Promise.reject(new BlockError('EIO', 'no'));
    const copied = await toCopy(runs('.'.repeat(64)), { size: target.size, blockStatus });
    expect(copied).toBe(`${'.'.repeat(32)}${'D'.repeat(32)}`);
  });

  it('is not asked on when the job has ended', async () => {
    const target = runs('.'.repeat(640), 20 * GRANULE);
    await toCopy(runs('.'.repeat(640)), target, { steps: 1 });
    expect(target.answers).toBe(1);
  });
});
