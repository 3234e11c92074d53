const { statSync } = require('node:fs');

/**
 * Of the byte code for this very `node`: it refers to what stands in V8's read-only heap by its
 * place there, which is another one in each build of Node. Before Node 22 V8 compares no more than
 * its own version, which all of Node 20 have in common, and crashes.
 */
const { size, mtimeMs } = statSync(process.execPath);
module.exports = `main-${process.version}-${process.arch}-${size}-${Math.trunc(mtimeMs)}.cache`;
