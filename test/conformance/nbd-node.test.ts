import { MemoryNode } from '../../src/block/memory-node.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { openNbdNode } from '../support/open-nbd-node.ts';
import { blockNodeSuite } from './block-node-suite.ts';

// Server and node are gone with the test.
const dispose = async () => {};

blockNodeSuite('nbd over our server', async ({ size, readOnly }) => {
  const disk = new MemoryNode('disk0', { size });
  const rig = await startNbdRig({ node: disk, export: { writable: !readOnly } });
  return { node: await openNbdNode(rig.socket, { readOnly }), dispose };
});

blockNodeSuite('nbd that waits for lost servers', async ({ size, readOnly }) => {
  const rig = await startNbdRig({ node: new MemoryNode('disk0', { size }) });
  const options = { readOnly, reconnectDelaySeconds: 10 };
  return { node: await openNbdNode(rig.socket, options), dispose };
});
