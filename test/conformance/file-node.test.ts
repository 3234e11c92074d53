import { blockNodeSuite } from './block-node-suite.ts';
import { makeFileNode } from './make-file-node.ts';

blockNodeSuite('file', makeFileNode({ ffi: true }));
blockNodeSuite('file without the FFI', makeFileNode({ ffi: false }));
blockNodeSuite('file that ignores discard', makeFileNode({ ffi: true, discard: 'ignore' }));
blockNodeSuite('file that detects zeroes', makeFileNode({ ffi: true, detectZeroes: 'unmap' }));
