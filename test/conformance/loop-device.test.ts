import { it } from 'vitest';
import { blockNodeSuite } from './block-node-suite.ts';
import { lackForLoopDevice, makeLoopNode } from './make-file-node.ts';

const lack = lackForLoopDevice();
if (lack === undefined) {
  blockNodeSuite('loop device', makeLoopNode());
  blockNodeSuite('loop device without the FFI', makeLoopNode({ ffi: false }));
  blockNodeSuite('loop device past the page cache', makeLoopNode({ direct: true }));
} else {
  it.skip(`block node: loop device needs ${lack}`);
}
