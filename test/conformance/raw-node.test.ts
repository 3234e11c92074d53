import { BlockGraph } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { RawNode } from '../../src/block/raw-node.ts';
import { blockNodeSuite } from './block-node-suite.ts';

blockNodeSuite('raw over memory', async ({ size, readOnly }) => {
  const graph = new BlockGraph();
  const disk = new MemoryNode('disk0', { size: size + 10_000 });
  const use = graph.use(disk, { kind: 'node', name: 'raw0' }, { writable: !readOnly });
  const node = new RawNode('raw0', use, { offset: 4096 + 512, size });
  return { node, dispose: () => node.close() };
});
