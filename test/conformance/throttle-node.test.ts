import { BlockGraph } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { ThrottleGroup } from '../../src/block/throttle-group.ts';
import type { ThrottleLimits } from '../../src/block/throttle-limits.ts';
import { ThrottleNode } from '../../src/block/throttle-node.ts';
import { systemClock } from '../../src/util/clock.ts';
import { blockNodeSuite } from './block-node-suite.ts';

const GENEROUS: ThrottleLimits = {
  'iops-total': 1_000_000,
  'bps-read': 1e12,
  'bps-write': 1e12,
  'iops-size': 4096,
};

for (const [title, limits] of [
  ['without limits', {}],
  ['with generous ones', GENEROUS],
] as const) {
  blockNodeSuite(`throttle ${title}, over memory`, async ({ size, readOnly }) => {
    const graph = new BlockGraph();
    const disk = new MemoryNode('disk0', { size });
    const use = graph.use(disk, { kind: 'node', name: 't0' }, { writable: !readOnly });
    const node = new ThrottleNode('t0', use, new ThrottleGroup('tg', limits, systemClock));
    return { node, dispose: () => node.close() };
  });
}
