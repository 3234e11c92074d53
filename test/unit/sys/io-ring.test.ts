import fs from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import { expect, it } from 'vitest';
import { IoRing } from '../../../src/sys/io-ring.ts';

/** Rings that this process has open. */
function rings(): number {
  return fs.readdirSync('/proc/self/fd').filter((name) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${name}`).includes('io_uring');
    } catch {
      return false;
    }
  }).length;
}

it('a ring without room to share with the kernel is no ring, and is closed', () => {
  const libc = koffi.load(null);
  const withoutRoom = {
    func: (declaration: string) =>
      declaration.includes(' *mmap(') ? () => 2n ** 64n - 1n : libc.func(declaration),
  } as unknown as LibraryHandle;
  const before = rings();
  expect(() => new IoRing(withoutRoom, () => 0)).toThrow();
  expect(rings()).toBe(before);
});
