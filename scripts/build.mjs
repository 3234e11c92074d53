/**
 * `npm run build`: the program in `dist/`, as one file for what most commands need and one for each
 * thing that is loaded on demand. To find and read the 170 modules one by one takes a third of the
 * time that `copy` needs beyond Node's own to begin. Types are checked by `npm run check`. Stack
 * traces name the sources with `NODE_OPTIONS=--enable-source-maps`.
 */
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
// Elsewhere first: a build that fails, or is interrupted, leaves what was there.
const outdir = join(root, 'dist.new');

rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['src/cli/main.ts'],
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  sourcemap: true,
  logLevel: 'warning',
});
// Whole, because names of chunks change with what is in them: old ones would stay.
rmSync(dist, { recursive: true, force: true });
renameSync(outdir, dist);
