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
    },
  );
  expect(first.log).toEqual([`write 0+${MiB}`]);
  expect(second.log).toEqual([1, 2, 3].map((n) => `write ${n * MiB}+${MiB}`));
});
