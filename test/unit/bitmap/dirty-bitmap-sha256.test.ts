import { expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';

// Recorded from qemu-storage-daemon 7.2: x-debug-block-dirty-bitmap-sha256 after these writes.
it.each([
  {
    what: 'nothing dirty',
    size: 1 << 20,
    granularity: 65_536,
    writes: [],
    sha256: 'af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc',
  },
  {
    what: 'three granules in one word',
    size: 1 << 20,
    granularity: 65_536,
    writes: [
      [0, 512],
      [196_608, 131_072],
    ],
    sha256: 'bf5b0e89f1caed18c8d6ff15d17ecc5c6e0c89510b4bc6d7b4b51d4ed30999cb',
  },
  {
    what: 'granules of 512 bytes',
    size: 8 << 20,
    granularity: 512,
    writes: [
      [0, 1024],
      [5 << 20, 70_000],
      [(8 << 20) - 512, 512],
    ],
    sha256: '43b01eff883ddf7dd0001521a4d22c60f5e312f2ab7280b1d43919cec0f1810e',
  },
  {
    what: 'a disk that ends inside a granule',
    size: 100 * 65_536 + 512,
    granularity: 65_536,
    writes: [
      [100 * 65_536, 512],
      [64 * 65_536 - 512, 1024],
    ],
    sha256: '2b883b02d848f1367e0f582c085260086796d252d55b5fe890a4a471cd710e55',
  },
  {
    what: 'more than one page of bits',
    size: 1 << 30,
    granularity: 4096,
    writes: [
      [0, 4096],
      [200 << 20, 3 << 20],
      [(1 << 30) - 4096, 4096],
    ],
    sha256: 'd669be92f42d120faf7f2221e7f8e9d27faa5476bb07ddf29e92ce1bded3ad9a',
  },
])('has the hash that QEMU has: $what', ({ size, granularity, writes, sha256 }) => {
  const bitmap = new DirtyBitmap({ size, granularity });
  for (const [offset, length] of writes) bitmap.set(offset!, length!);
  expect(bitmap.sha256()).toBe(sha256);
});
