import { beforeEach, describe, expect, it, vi } from 'vitest';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import {
  type SpaceOptions,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from '../../../src/block/node.ts';
import { RawNode } from '../../../src/block/raw-node.ts';
import { pattern } from '../../support/mirror-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const SIZE = 1 << 20;

/** What any node does with `discard` and `detect-zeroes`, before its own kind is asked. */
describe('the space of a node', () => {
  let node: ShakyNode;
  /** Flags of zeroes that have reached its disk. */
  let zeroed: (number | undefined)[];

  beforeEach(() => {
    const disk = new MemoryNode('disk0', { size: SIZE });
    node = new ShakyNode(disk);
    zeroed = [];
    const writeZeroes = disk.writeZeroes.bind(disk);
    vi.spyOn(disk, 'writeZeroes').mockImplementation((offset, length, flags) => {
      zeroed.push(flags);
      return writeZeroes(offset, length, flags);
    });
  });

  const told = (space: Partial<SpaceOptions>) => {
    node.space = { ...node.space, ...space };
  };

  it('is given back, and zeroes are not looked for, until it is told otherwise', async () => {
    await node.discard(0, 4096);
    await node.writeZeroes(0, 4096, ZERO_MAY_UNMAP);
    await node.write(0, Buffer.alloc(4096));
    expect([node.discards, node.log]).toEqual([
      true,
      ['discard 0+4096', 'zero 0+4096', 'write 0+4096'],
    ]);
    expect(zeroed).toEqual([ZERO_MAY_UNMAP]);
  });

  it('is kept with discard ignore', async () => {
    told({ discard: 'ignore' });
    await node.discard(0, 4096);
    await node.writeZeroes(0, 4096, ZERO_MAY_UNMAP | ZERO_NO_FALLBACK | WRITE_FUA);
    expect([node.discards, node.log]).toEqual([false, ['zero 0+4096']]);
    expect(zeroed).toEqual([ZERO_NO_FALLBACK | WRITE_FUA]);
  });

  it('is not given back by a window on what keeps it', async () => {
    const use = new BlockGraph().use(node, { kind: 'node', name: 'r' }, { writable: true });
    const window = new RawNode('r', use);
    told({ discard: 'ignore' });
    await window.discard(0, 4096);
    expect([window.discards, node.log]).toEqual([false, []]);
    told({ discard: 'unmap' });
    await window.discard(0, 4096);
    expect([window.discards, node.log]).toEqual([true, ['discard 0+4096']]);
  });

  it('is not asked for with zeroes that would be written as data', async () => {
    told({ detectZeroes: 'unmap' });
    node.zeroesAreCheap = false;
    await node.write(0, Buffer.alloc(4096));
    expect(node.log).toEqual(['write 0+4096']);
  });

  it.each([
    ['on', 0],
    ['unmap', ZERO_MAY_UNMAP],
  ] as const)('with detect-zeroes %s', async (detectZeroes, unmap) => {
    told({ detectZeroes });
    await node.write(0, Buffer.alloc(4096));
    await node.write(4096, Buffer.alloc(4096), WRITE_FUA);
    await node.write(8192, pattern(4096, 1));
    expect(node.log).toEqual(['zero 0+4096', 'zero 4096+4096', 'write 8192+4096']);
    expect(zeroed).toEqual([unmap, unmap | WRITE_FUA]);
  });
});
