/** `npm run bench`: set up what is missing, then test/bench with the given arguments. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fetchQsd } from './fetch-qsd.mjs';
import { build, installModules, installPeers, ROOT } from './setup.mjs';

installModules();
build();
installPeers();
fetchQsd();

const runner = join(ROOT, 'node_modules', 'tsx', 'dist', 'cli.mjs');
const result = spawnSync(
  process.execPath,
  [runner, join(ROOT, 'test', 'bench', 'main.ts'), ...process.argv.slice(2)],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
process.exit(result.status ?? 1);
