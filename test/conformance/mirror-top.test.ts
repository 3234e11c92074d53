import { BlockGraph } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import type { CopyMode } from '../../src/block/mirror-top.ts';
import { RawNode } from '../../src/block/raw-node.ts';
import { firstDifference } from '../../src/daemon/compare.ts';
import { JobRegistry } from '../../src/job/registry.ts';
import { startMirror } from '../../src/job/start-mirror.ts';
import { systemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { openNbdNode } from '../support/open-nbd-node.ts';
import { blockNodeSuite, type MakeNode } from './block-node-suite.ts';
import { makeFileNode } from './make-file-node.ts';

/**
 * The filter above each kind of disk, with a mirror at work: the suite must not notice it, and
 * whatever the suite did, the target equals the source at the end.
 */
function mirrored(make: MakeNode, copyMode: CopyMode, makeTarget: MakeNode): MakeNode {
  return async (options) => {
    const below = await make(options);
    const target = await makeTarget({ size: options.size, readOnly: false });
    const graph = new BlockGraph();
    const targetDisk = new RawNode(
      'copy',
      graph.use(target.node, { kind: 'node', name: 'copy' }, WRITABLE),
    );
    graph.add(below.node);
    graph.add(targetDisk);
    let onReady = () => {};
    const ready = new Promise<void>((resolve) => {
      onReady = resolve;
    });
    const jobs = new JobRegistry({
      clock: systemClock,
      log: silentLog,
      onEvent: ({ name }) => {
        if (name === 'BLOCK_JOB_READY') onReady();
      },
    });
    const job = startMirror(jobs, graph, {
      id: 'mirror',
      source: below.node,
      target: targetDisk,
      sync: 'full',
      copyMode,
    });
    await ready;
    const { node } = graph.use(below.node, { kind: 'export', name: 'e' }, WRITABLE);
    const dispose = async () => {
      job.cancel({ force: false });
      await job.ended;
      const difference = await firstDifference(below.node, targetDisk);
      await targetDisk.close();
      await target.dispose();
      await below.dispose();
      if (difference !== undefined) throw new Error(`source and target differ at ${difference}`);
    };
    return { node, dispose };
  };
}

const WRITABLE = { writable: true };

const memory: MakeNode = async ({ size, readOnly }) => ({
  node: new MemoryNode('disk0', { size, readOnly }),
  dispose: async () => {},
});

const raw: MakeNode = async ({ size, readOnly }) => {
  const disk = new MemoryNode('below', { size: size + 4096, readOnly });
  const use = new BlockGraph().use(disk, { kind: 'node', name: 'disk0' }, WRITABLE);
  return { node: new RawNode('disk0', use, { offset: 512, size }), dispose: async () => {} };
};

const nbd: MakeNode = async ({ size, readOnly }) => {
  const rig = await startNbdRig({
    node: new MemoryNode('disk0', { size }),
    export: { writable: !readOnly },
  });
  return { node: await openNbdNode(rig.socket, { readOnly }), dispose: async () => {} };
};

for (const copyMode of ['background', 'write-blocking'] as const) {
  blockNodeSuite(`mirror-top over memory, ${copyMode}`, mirrored(memory, copyMode, nbd));
  blockNodeSuite(`mirror-top over file, ${copyMode}`, mirrored(makeFileNode(), copyMode, memory));
  blockNodeSuite(`mirror-top over raw, ${copyMode}`, mirrored(raw, copyMode, memory));
  blockNodeSuite(`mirror-top over nbd, ${copyMode}`, mirrored(nbd, copyMode, nbd));
}
