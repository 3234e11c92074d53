/** `npm run bench`: set up what is missing, then test/bench with the given arguments. */
import { join } from 'node:path';
import { fetchQsd } from './fetch-qsd.mjs';
import { runNode } from './run-node.mjs';
import { build, installModules, installPeers, ROOT } from './setup.mjs';

installModules();
build();
installPeers();
fetchQsd();

const runner = ['--import', 'tsx', join(ROOT, 'test', 'bench', 'main.ts')];
process.exit(await runNode([...runner, ...process.argv.slice(2)], { stdin: 'ignore' }));
