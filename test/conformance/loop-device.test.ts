import { it } from 'vitest';
import { lackForLoopDevice } from '../support/loop-device.ts';
import { blockNodeSuite } from './block-node-suite.ts';
import { makeLoopNode } from './make-file-node.ts';

const lack = lackForLoopDevice();
if (lack === undefined) {
  blockNodeSuite('loop device', makeLoopNode());
  blockNodeSuite('loop device without the FFI', makeLoopNode({ ffi: false }));
  blockNodeSuite('loop device past the page cache', makeLoopNode({ direct: true }));
} else {
  it.skip(`block node: loop device [missing: ${lack}]`);
}
