import { MemoryNode } from '../../src/block/memory-node.ts';
import { blockNodeSuite } from './block-node-suite.ts';

blockNodeSuite('memory', async (options) => {
  const node = new MemoryNode('disk0', options);
  return { node, dispose: () => node.close() };
});
