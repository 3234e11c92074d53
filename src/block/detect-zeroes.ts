import { KiB } from '../util/limits.ts';
import type { DiskRange } from './node.ts';

/** Runs of zeroes in data are looked for in blocks of this size. */
export const ZERO_BLOCK_BYTES = 64 * KiB;

/**
 * Finds zeroes in data that is in memory anyway, to send "zeroes" instead of them. A buffer is zero
 * when it begins with a zero and equals itself shifted by one byte: that is one memcmp, five to
 * fifteen times faster than a loop over 64-bit words, and data is told from zeroes by its first
 * bytes.
 */
export function isZero(buffer: Buffer, start = 0, end = buffer.length): boolean {
  if (start === end) return true;
  return buffer[start] === 0 && buffer.compare(buffer, start, end - 1, start + 1, end) === 0;
}

/** A part of a buffer: nothing but zeroes, or data. */
export type ZeroRun = DiskRange & { readonly zero: boolean };

/**
 * Runs of zero and of other data that partition the buffer, ending at multiples of `granule` (or
 * with the buffer). Offsets count from the start of the buffer.
 */
export function zeroRuns(buffer: Buffer, granule: number): ZeroRun[] {
  const runs: ZeroRun[] = [];
  const zeroAt = (at: number) => isZero(buffer, at, Math.min(at + granule, buffer.length));
  for (let start = 0, end = 0; start < buffer.length; start = end) {
    const zero = zeroAt(start);
    end = start + granule;
    while (end < buffer.length && zeroAt(end) === zero) end += granule;
    end = Math.min(end, buffer.length);
    runs.push({ offset: start, length: end - start, zero });
  }
  return runs;
}
