import { NET_SLAB_BYTES } from '../util/limits.ts';

/** Memory that is read into again and again, until somebody keeps views into it. */
export class Slab {
  #buffer: Buffer | undefined;

  get buffer(): Buffer {
    this.#buffer ??= Buffer.allocUnsafeSlow(NET_SLAB_BYTES);
    return this.#buffer;
  }

  /** What was read last is kept: the next bytes come into other memory. */
  keep(): void {
    this.#buffer = undefined;
  }
}
