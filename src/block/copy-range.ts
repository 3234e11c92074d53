import type { ByteBudget } from '../util/byte-budget.ts';
import { BlockError } from '../util/errors.ts';
import { MiB } from '../util/limits.ts';
import { type BlockNode, type DiskRange, type Extent, pieces, WRITE_FUA } from './node.ts';
import { extentsInUnits } from './whole-units.ts';

/** Extents of the source that are looked at in one go. */
const EXTENTS_MAX = 64;
/** Questions about one unit: a server may tell of one extent with each answer. */
const QUESTIONS_MAX = 8;

/** The source did not say what the target should be like: an error of the source. */
export class SourceUnread extends Error {}

export interface CopyOptions {
  readonly unitBytes: number;
  /** Go with every request. */
  readonly flags: number;
  /** Throws when nothing is to be sent any more: the target may hang. */
  readonly assertWanted: () => void;
  /** What is read is held until the target has it: a piece, of 1 MiB or of a unit, at a time. */
  readonly buffers: ByteBudget;
  /** Zeroes do not go where the target reads as zeroes: they might take space there. */
  readonly skipsZeroes: boolean;
}

/**
 * Makes the target read as the source does, in requests of whole units; one after the other, for
 * this is for the small ranges around a client's request. `target` is asked anew each time: a
 * filter may have come to sit on it.
 */
export async function copyRange(
  source: BlockNode,
  target: () => BlockNode,
  range: DiskRange,
  options: CopyOptions,
): Promise<void> {
  const { unitBytes, assertWanted } = options;
  const end = range.offset + range.length;
  for (let at = range.offset; at < end; ) {
    const rest = { offset: at, length: end - at };
    const extents = await extentsOf(source, rest, EXTENTS_MAX);
    for (const extent of extentsInUnits(extents, unitBytes, rest)) {
      assertWanted();
      if (extent.zero) await copyZeroes(target, extent, options);
      else await copyData(source, target, extent, options);
      at = extent.offset + extent.length;
    }
  }
}

async function copyZeroes(
  target: () => BlockNode,
  extent: DiskRange,
  { flags, assertWanted, skipsZeroes }: CopyOptions,
): Promise<void> {
  if (skipsZeroes && (await readsAsZero(target(), extent))) return;
  assertWanted();
  await target().writeZeroes(extent.offset, extent.length, flags);
}

/** Whether the node says so. */
export async function readsAsZero(
  node: BlockNode,
  { offset, length }: DiskRange,
): Promise<boolean> {
  try {
    const [first] = await node.blockStatus(offset, length, 2);
    return first!.zero && first!.length === length;
  } catch (error) {
    // Who cannot tell may still be able to write.
    if (error instanceof BlockError) return false;
    throw error;
  }
}

async function copyData(
  source: BlockNode,
  target: () => BlockNode,
  extent: DiskRange,
  { unitBytes, flags, assertWanted, buffers }: CopyOptions,
): Promise<void> {
  const pieceBytes = Math.max(MiB, unitBytes);
  const bufferBytes = Math.min(extent.length, pieceBytes);
  await buffers.take(bufferBytes);
  try {
    const buffer = Buffer.allocUnsafe(bufferBytes);
    for (const piece of pieces(extent.offset, extent.length, pieceBytes)) {
      const data = buffer.subarray(0, piece.length);
      await asked(() => source.read(piece.offset, data));
      assertWanted();
      await target().write(piece.offset, data, flags & WRITE_FUA);
    }
  } finally {
    buffers.give(bufferBytes);
  }
}

/**
 * What is to be copied of the beginning of the range, of `bytesMin` at least: what is copied in one
 * go would never be done by who knows only of a part of it. What cannot be told in a few answers is
 * taken for data.
 */
export async function extentsOf(
  source: BlockNode,
  range: DiskRange,
  extentsMax: number,
  bytesMin = 0,
): Promise<readonly Extent[]> {
  const end = range.offset + range.length;
  const wanted = range.offset + Math.min(bytesMin, range.length);
  let found = await told(source, range, extentsMax);
  for (let questions = 1; ; questions++) {
    const last = found[found.length - 1]!;
    const at = last.offset + last.length;
    if (at >= wanted) return found;
    const rest = { offset: at, length: end - at };
    const more =
      questions < QUESTIONS_MAX
        ? await told(source, rest, extentsMax)
        : [{ offset: at, length: wanted - at, hole: false, zero: false }];
    found = [...found, ...more];
  }
}

/** As QEMU: who cannot tell what the source holds copies it. */
async function told(
  source: BlockNode,
  range: DiskRange,
  extentsMax: number,
): Promise<readonly Extent[]> {
  try {
    return await source.blockStatus(range.offset, range.length, extentsMax);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return [{ ...range, hole: false, zero: false }];
  }
}

async function asked<T>(question: () => T): Promise<Awaited<T>> {
  try {
    return await question();
  } catch (error) {
    if (error instanceof BlockError) throw new SourceUnread('the source', { cause: error });
    throw error;
  }
}
