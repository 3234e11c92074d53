/**
 * `npm run build`: the program in `dist/`, as one file. To find and read the 170 modules one by one
 * takes a third of the time that `copy` needs beyond Node's own to begin. As CommonJS, which Node
 * loads 30 ms sooner than the same as ES modules; what a command does not need is still not run.
 * Beside it what V8 makes of it, so that no start has to compile it: `bin/nbd-mirror` hands it in.
 * Types are checked by `npm run check`. Stack traces name the sources with
 * `NODE_OPTIONS=--enable-source-maps`.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import Module from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { build } from 'esbuild';
import byteCodeName from '../bin/byte-code-name.cjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const PROGRAM = 'main.cjs';
const dist = join(root, 'dist');
// Elsewhere first: a build that fails, or is interrupted, leaves what was there.
const outdir = join(root, 'dist.new');

rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['src/cli/main.ts'],
  outdir,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  format: 'cjs',
  // What CommonJS lacks.
  define: { 'import.meta.url': 'moduleUrl' },
  // Strict as the sources are: a directive comes before everything else.
  banner: {
    js: "'use strict';\nconst moduleUrl = require('node:url').pathToFileURL(__filename).href;",
  },
  platform: 'node',
  target: 'node20',
  // The others are loaded by few commands, or cannot be put into a file.
  external: ['koffi', 'pino', 'ws'],
  sourcemap: true,
  logLevel: 'warning',
});
// V8 does not see that half of it was lost with the power.
writeFileSync(join(outdir, byteCodeName), compiled(join(outdir, PROGRAM)), { flush: true });
rmSync(dist, { recursive: true, force: true });
renameSync(outdir, dist);

/** The byte code of all functions, not only of those that run first; V8 takes it from its equal. */
function compiled(program) {
  const source = Module.wrap(readFileSync(program, 'utf8'));
  setFlagsFromString('--no-lazy');
  const script = new Script(source, { filename: join(dist, PROGRAM) });
  // As it will be when the code is looked at: it is refused where flags differ.
  setFlagsFromString('--lazy');
  return script.createCachedData();
}
