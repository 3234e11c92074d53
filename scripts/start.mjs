/** `npm start`: set up what is missing, then the demo with the given arguments. */
import { join } from 'node:path';
import { runNode } from './run-node.mjs';
import { build, installModules, ROOT } from './setup.mjs';

installModules();
build();

process.exit(await runNode([join(ROOT, 'bin', 'nbd-mirror'), 'demo', ...process.argv.slice(2)]));
