import { blockNodeSuite } from './block-node-suite.ts';
import { makeFileNode } from './make-file-node.ts';

blockNodeSuite('file', makeFileNode());
blockNodeSuite('file without the FFI', makeFileNode({ ffi: false }));
blockNodeSuite('file that ignores discard', makeFileNode({ discard: 'ignore' }));
blockNodeSuite('file that detects zeroes', makeFileNode({ detectZeroes: 'unmap' }));
blockNodeSuite('file without flush', makeFileNode({ noFlush: true }));
blockNodeSuite('file in memory', makeFileNode({ directory: '/dev/shm' }));
blockNodeSuite('file past the page cache', makeFileNode({ direct: true }));
