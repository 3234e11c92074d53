import type { BlockNode } from '../block/node.ts';
import { MiB } from '../util/limits.ts';

/** Where two disks of one size differ first; undefined when they are equal byte for byte. */
export async function firstDifference(a: BlockNode, b: BlockNode): Promise<number | undefined> {
  const left = Buffer.allocUnsafe(MiB);
  const right = Buffer.allocUnsafe(MiB);
  for (let at = 0; at < a.size; at += MiB) {
    const length = Math.min(MiB, a.size - at);
    await a.read(at, left.subarray(0, length));
    await b.read(at, right.subarray(0, length));
    if (left.compare(right, 0, length, 0, length) === 0) continue;
    for (let byte = 0; byte < length; byte++) if (left[byte] !== right[byte]) return at + byte;
  }
  return undefined;
}
