/**
 * `npm test`: set up what is missing, then every test but the virtual machine's; `--vm` runs that
 * one. Other arguments go to vitest. The last line counts the tests.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchQsd } from './fetch-qsd.mjs';
import { runNode } from './run-node.mjs';
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
const exitCode = await runNode(
  [
    join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    ...projects.map((project) => `--project=${project}`),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...args,
  ],
  { stdin: 'ignore' },
);
const lines = countTests();
rmSync(directory, { recursive: true });
for (const line of lines) process.stdout.write(`${line}\n`);
process.exit(exitCode);

function countTests() {
  let run;
  try {
    run = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    say('vitest wrote no report');
    return [];
  }
  const files = run.testResults;
  // A file that could not be loaded, or whose preparation failed, has no test that failed.
  const broken = files.filter(
    ({ status, assertionResults: tests }) =>
      status === 'failed' && !tests.some((test) => test.status === 'failed'),
  ).length;
  const skipped = run.numPendingTests + run.numTodoTests;
  const tests = files.flatMap(({ assertionResults }) => assertionResults);
  const lacks = tests.flatMap(({ status, fullName }) =>
    status === 'skipped' ? (/\[(missing: [^\]]*)\]/.exec(fullName)?.[1] ?? []) : [],
  );
  return [
    ...[...new Set(lacks)].map((lack) => `skipped for what is ${lack}`),
    `${run.numPassedTests} passed, ${run.numFailedTests + broken} failed, ${skipped} skipped`,
  ];
}
