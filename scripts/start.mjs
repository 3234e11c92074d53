/** `npm start`: set up what is missing, then the demo with the given arguments. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import { build, installModules, ROOT } from './setup.mjs';

installModules();
build();

// A session of its own: Ctrl-C reaches this process (npm may even pass it on a second time), and
// from here the demo exactly once, whoever sent it.
const child = spawn(
  process.execPath,
  [join(ROOT, 'bin', 'nbd-mirror'), 'demo', ...process.argv.slice(2)],
  { stdio: 'inherit', detached: true },
);
const SAME_SIGNAL_MS = 300;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  let last = Number.NEGATIVE_INFINITY;
  process.on(signal, () => {
    const now = performance.now();
    if (now - last > SAME_SIGNAL_MS) child.kill(signal);
    last = now;
  });
}
process.on('exit', () => child.kill('SIGKILL'));
child.on('exit', (code, signal) => {
  process.exit(code ?? 128 + constants.signals[signal]);
});
