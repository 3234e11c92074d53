import { assert } from '../util/assert.ts';
import type { DirtyBitmap } from './dirty-bitmap.ts';

/**
 * The bitmaps of one disk, first to last added, and those among them that record its writes. There
 * may be thousands: finding one, adding one and removing one cost the same however many there are.
 */
export class BitmapSet {
  readonly #all = new Set<DirtyBitmap>();
  readonly #named = new Map<string, DirtyBitmap>();
  /** Replaced, never changed; undefined until the next write asks for it. */
  #recording: readonly DirtyBitmap[] | undefined = [];

  list(): readonly DirtyBitmap[] {
    return [...this.#all];
  }

  has(bitmap: DirtyBitmap): boolean {
    return this.#all.has(bitmap);
  }

  find(name: string): DirtyBitmap | undefined {
    return this.#named.get(name);
  }

  /** The caller has seen to it that the name is free. */
  add(bitmap: DirtyBitmap): void {
    const { name } = bitmap;
    this.#all.add(bitmap);
    if (name !== undefined) {
      assert(!this.#named.has(name), `bitmap name ${name} is free`);
      this.#named.set(name, bitmap);
    }
    this.#recording = undefined;
  }

  remove(bitmap: DirtyBitmap): void {
    assert(this.#all.delete(bitmap), 'the bitmap is on this node');
    if (bitmap.name !== undefined) this.#named.delete(bitmap.name);
    this.#recording = undefined;
  }

  setRecording(bitmap: DirtyBitmap, enabled: boolean): void {
    assert(this.#all.has(bitmap), 'the bitmap is on this node');
    bitmap.enabled = enabled;
    this.#recording = undefined;
  }

  /** The enabled ones, as one array that stays as it is: a request keeps what it started with. */
  get recording(): readonly DirtyBitmap[] {
    this.#recording ??= [...this.#all].filter((bitmap) => bitmap.enabled);
    return this.#recording;
  }
}
