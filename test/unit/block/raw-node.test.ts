import { describe, expect, it } from 'vitest';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { RawNode } from '../../../src/block/raw-node.ts';

function newRaw(window: { offset?: number; size?: number }, options = { writable: true }) {
  const disk = new MemoryNode('disk0', { size: 65_536 });
  const use = new BlockGraph().use(disk, { kind: 'node', name: 'raw0' }, options);
  return { disk, use, raw: new RawNode('raw0', use, window) };
}

describe('raw node', () => {
  it('shows its window and nothing else', async () => {
    const { disk, raw } = newRaw({ offset: 4096, size: 8192 });
    await disk.write(0, Buffer.alloc(65_536, 1));
    await raw.write(0, Buffer.alloc(8192, 2));
    const all = Buffer.alloc(65_536);
    await disk.read(0, all);
    const expected = Buffer.alloc(65_536, 1).fill(2, 4096, 4096 + 8192);
    expect(all.equals(expected)).toBe(true);
    expect(await raw.blockStatus(512, 512, 1)).toEqual([
      { offset: 512, length: 512, hole: false, zero: false },
    ]);
  });

  it('ends with the child when no size is given', () => {
    expect(newRaw({ offset: 4096 }).raw.size).toBe(65_536 - 4096);
    expect(newRaw({}).raw.size).toBe(65_536);
  });

  it.each([
    [{ offset: 65_536, size: 1 }],
    [{ offset: 65_537 }],
    [{ size: 65_537 }],
    [{ offset: 4096, size: 65_536 }],
  ])('refuses %o, which does not lie within the child', (window) => {
    expect(() => newRaw(window)).toThrow(
      /^Cannot open node "raw0": a window of .* does not lie within node "disk0", which has 65536/,
    );
  });

  it('promises no alignment that its offset breaks', () => {
    expect(newRaw({ offset: 512 }).raw.limits.preferredBytes).toBe(512);
    expect(newRaw({ offset: 8192 }).raw.limits.preferredBytes).toBe(4096);
    expect(newRaw({ offset: 1 }).raw.limits.preferredBytes).toBe(512);
  });

  it('is read-only when its use of the child is', () => {
    const { raw } = newRaw({}, { writable: false });
    expect(() => raw.write(0, Buffer.alloc(1))).toThrow('read-only');
  });

  it('follows its child when that is replaced, and lets it go at the end', async () => {
    const graph = new BlockGraph();
    const first = new MemoryNode('disk0', { size: 4096 });
    const second = new MemoryNode('disk1', { size: 4096 });
    const raw = new RawNode(
      'raw0',
      graph.use(first, { kind: 'node', name: 'raw0' }, { writable: true }),
    );
    graph.replace(first, second);
    await raw.write(0, Buffer.from([7]));
    const byte = Buffer.alloc(1);
    await second.read(0, byte);
    expect(byte[0]).toBe(7);
    await raw.close();
    expect(graph.usersOf(second)).toEqual([]);
  });
});
