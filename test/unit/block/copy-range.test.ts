import { expect, it } from 'vitest';
import { copyRange } from '../../../src/block/copy-range.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { ByteBudget } from '../../../src/util/byte-budget.ts';
import { MiB } from '../../../src/util/limits.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

it('goes on with whatever the target is by now', async () => {
  const size = 4 * MiB;
  const source = new MemoryNode('source', { size });
  await source.write(0, Buffer.alloc(size, 1));
  const [first, second] = ['a', 'b'].map(
    (name) => new ShakyNode(new MemoryNode(name, { size })),
  ) as [ShakyNode, ShakyNode];
  let target = first;
  first.meddle = () => {
    // A filter comes to sit on it while a piece is on its way.
    target = second;
  };
  await copyRange(
    source,
    () => target,
    { offset: 0, length: size },
    {
      unitBytes: 1,
      flags: 0,
      assertWanted: () => {},
      buffers: new ByteBudget(8 * MiB),
      skipsZeroes: true,
    },
  );
  expect(first.log).toEqual([`write 0+${MiB}`]);
  expect(second.log).toEqual([1, 2, 3].map((n) => `write ${n * MiB}+${MiB}`));
});

it.each([true, false])('asks about zeroes if it may: %s', async (skipsZeroes) => {
  const size = 2 * MiB;
  const [source, target] = [new MemoryNode('source', { size }), new MemoryNode('target', { size })];
  await target.write(MiB, Buffer.alloc(4096, 1));
  const watched = new ShakyNode(target);
  const options = { unitBytes: 1, flags: 0, assertWanted() {}, buffers: new ByteBudget(MiB) };
  for (const offset of [0, MiB]) {
    const range = { offset, length: MiB };
    await copyRange(source, () => watched, range, { ...options, skipsZeroes });
  }
  const zeroed = watched.log.filter((line) => !line.startsWith('status'));
  expect(zeroed).toHaveLength(skipsZeroes ? 1 : 2);
  const found = Buffer.alloc(size);
  await target.read(0, found);
  expect(found.equals(Buffer.alloc(size))).toBe(true);
});
