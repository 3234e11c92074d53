import { it } from 'vitest';
import { blockNodeSuite } from './block-node-suite.ts';
import { lackForLoopDevice, makeLoopNode } from './make-file-node.ts';

const lack = lackForLoopDevice();
if (lack === undefined) {
  blockNodeSuite('loop device', makeLoopNode());
  blockNodeSuite('loop device without the FFI', makeLoopNode({ ffi: false }));
} else {
  it.skip(`block node: loop device needs ${lack}`);
}
