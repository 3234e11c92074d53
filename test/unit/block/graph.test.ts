import { beforeEach, describe, expect, it } from 'vitest';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { RawNode } from '../../../src/block/raw-node.ts';

const WRITABLE = { writable: true };

describe('block graph', () => {
  let graph: BlockGraph;
  let disk: MemoryNode;

  beforeEach(() => {
    graph = new BlockGraph();
    disk = new MemoryNode('disk0', { size: 4096 });
    graph.add(disk);
  });

  it('finds nodes by name, in the order in which they came', () => {
    const other = new MemoryNode('disk1', { size: 4096 });
    graph.add(other);
    expect(graph.find('disk1')).toBe(other);
    expect(graph.find('disk2')).toBeUndefined();
    expect(graph.nodes()).toEqual([disk, other]);
    graph.remove(disk);
    expect(graph.nodes()).toEqual([other]);
  });

  it('refuses a second node of the same name', () => {
    expect(() => graph.add(new MemoryNode('disk0', { size: 512 }))).toThrow('disk0 is free');
  });

  it('makes names that are free', () => {
    graph.add(new MemoryNode('#block000', { size: 512 }));
    expect(graph.generateName()).toBe('#block001');
    expect(graph.generateName()).toBe('#block002');
  });

  it('keeps a node that is used', () => {
    const use = graph.use(disk, { kind: 'export', name: 'exp0' }, WRITABLE);
    expect(graph.usersOf(disk)).toEqual([use]);
    expect(() => graph.remove(disk)).toThrow('nobody uses disk0');
    use.release();
    graph.remove(disk);
    expect(graph.find('disk0')).toBeUndefined();
  });

  it('gives later users the filter on a node, but not a window that somebody has on it', () => {
    const window = new RawNode(
      'window',
      graph.use(disk, { kind: 'node', name: 'window' }, WRITABLE),
      { offset: 512 },
    );
    graph.add(window);
    expect(graph.use(disk, { kind: 'export', name: 'a' }, WRITABLE).node).toBe(disk);
    const own = graph.useForFilter(disk, 'filter');
    const filter = new RawNode('filter', own);
    graph.insertFilter(filter, own, 'mirror');
    expect(graph.use(disk, { kind: 'export', name: 'b' }, WRITABLE).node).toBe(filter);
  });

  it('puts a filter between a node and all its users, but not itself', () => {
    const uses = [
      graph.use(disk, { kind: 'export', name: 'a' }, WRITABLE),
      graph.use(disk, { kind: 'export', name: 'b' }, WRITABLE),
    ];
    const below = graph.use(disk, { kind: 'node', name: 'filter' }, WRITABLE);
    const filter = new RawNode('filter', below);
    graph.insertFilter(filter, below, 'mirror');
    expect(uses.map((use) => use.node)).toEqual([filter, filter]);
    expect(below.node).toBe(disk);

    graph.replace(filter, disk);
    expect(uses.map((use) => use.node)).toEqual([disk, disk]);
    graph.remove(filter);
  });

  it('leaves users of other nodes where they are', () => {
    const other = new MemoryNode('disk1', { size: 4096 });
    const third = new MemoryNode('disk2', { size: 4096 });
    const use = graph.use(other, { kind: 'export', name: 'a' }, WRITABLE);
    graph.replace(disk, third);
    expect(use.node).toBe(other);
  });

  it('blocks a node until every blocker is gone', () => {
    const write = () => graph.assertNotBlocked(disk, { writable: true });
    write();
    const unblock = graph.block(disk, 'mirror a', 'writers');
    const unblockToo = graph.block(disk, 'mirror b', 'writers');
    expect(write).toThrow("Node 'disk0' is busy: mirror a");
    unblock();
    expect(write).toThrow("Node 'disk0' is busy: mirror b");
    unblockToo();
    write();
  });

  it('keeps readers out of a node only when everybody must stay out', () => {
    const read = () => graph.assertNotBlocked(disk, { writable: false });
    const unblock = graph.block(disk, 'mirror a', 'writers');
    read();
    unblock();
    graph.block(disk, 'resize', 'everybody');
    expect(read).toThrow("Node 'disk0' is busy: resize");
  });
});
