import { RefusedError } from '../util/errors.ts';
import { BITMAP_GRANULES_MAX } from '../util/limits.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';

/** What a bitmap must be for whoever works with it; if not, a `RefusedError` in QEMU's words. */

/** Nobody else works with it: no job, no export. */
export function assertNotBusy({ busy, name }: DirtyBitmap): void {
  if (!busy) return;
  throw new RefusedError(
    `Bitmap '${name}' is currently in use by another operation and cannot be used`,
  );
}

export function assertChangeable({ readOnly, name }: DirtyBitmap): void {
  if (readOnly) throw new RefusedError(`Bitmap '${name}' is readonly and cannot be modified`);
}

export function assertConsistent({ inconsistent, name }: DirtyBitmap): void {
  if (inconsistent) throw new RefusedError(`Bitmap '${name}' is inconsistent and cannot be used`);
}

/** Whether a bitmap of such granules can be made for a disk of `size` bytes. */
export function fitsGranules(size: number, granularity: number): boolean {
  return size / granularity <= BITMAP_GRANULES_MAX;
}
