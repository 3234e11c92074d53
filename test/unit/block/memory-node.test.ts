import { expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';

const TIB = 2 ** 40;

it('is sparse: a disk of 1 TiB holds what was written', async () => {
  const node = new MemoryNode('disk0', { size: TIB });
  const text = Buffer.from('across a page');
  await node.write(TIB / 2 - 5, text);
  const back = Buffer.alloc(text.length);
  await node.read(TIB / 2 - 5, back);
  expect(back.equals(text)).toBe(true);
  expect(await node.blockStatus(0, TIB, 10)).toEqual([
    { offset: 0, length: TIB / 2 - 65_536, hole: true, zero: true },
    { offset: TIB / 2 - 65_536, length: 131_072, hole: false, zero: false },
    { offset: TIB / 2 + 65_536, length: TIB / 2 - 65_536, hole: true, zero: true },
  ]);
});

it('finishes at once', () => {
  const node = new MemoryNode('disk0', { size: 4096 });
  expect(node.write(0, Buffer.alloc(4096))).toBeUndefined();
  expect(node.read(0, Buffer.alloc(4096))).toBeUndefined();
  expect(node.flush()).toBeUndefined();
});

it('frees what is discarded in whole', async () => {
  const node = new MemoryNode('disk0', { size: TIB });
  await node.write(65_536, Buffer.alloc(65_536, 1));
  await node.discard(0, TIB);
  expect(await node.blockStatus(0, TIB, 10)).toEqual([
    { offset: 0, length: TIB, hole: true, zero: true },
  ]);
});
