/**
 * `npm test`: set up what is missing, then every test but the virtual machine's; `--vm` runs that
 * one. Other arguments go to vitest. The last line counts the tests.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchQsd } from './fetch-qsd.mjs';
import { build, installModules, installPeers, ROOT, say } from './setup.mjs';

const args = process.argv.slice(2).filter((arg) => arg !== '--vm');
const vm = process.argv.includes('--vm');

installModules();
build();
installPeers();
if (!vm) fetchQsd();
if (vm) {
  const { fetchKernel } = await import('./fetch-kernel.mjs');
  fetchKernel();
}

const directory = mkdtempSync(join(tmpdir(), 'nbd-mirror-report-'));
const report = join(directory, 'report.json');
const projects = args.some((arg) => arg.startsWith('--project')) ? [] : [vm ? 'vm' : '!vm'];
const result = spawnSync(
  process.execPath,
  [
    join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    ...projects.map((project) => `--project=${project}`),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...args,
  ],
  { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] },
);
const counted = countTests();
rmSync(directory, { recursive: true });
if (counted !== undefined) process.stdout.write(`${counted}\n`);
process.exit(result.status ?? 1);

function countTests() {
  let run;
  try {
    run = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    say('vitest wrote no report');
    return undefined;
  }
  // A file that could not be loaded has no tests to count, but it is a failure.
  const broken = run.testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  ).length;
  const skipped = run.numPendingTests + run.numTodoTests;
  return `${run.numPassedTests} passed, ${run.numFailedTests + broken} failed, ${skipped} skipped`;
}
