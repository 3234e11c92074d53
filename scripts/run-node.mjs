/** A program of ours in a Node of its own, for the commands of package.json. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { ROOT } from './setup.mjs';

const SAME_SIGNAL_MS = 300;

/**
 * Runs Node with `args` to its end; its exit code, 128 and the number of the signal that ended it.
 * A session of its own: Ctrl-C reaches this process (npm may even pass it on a second time), and
 * from here the program, and whatever it has started, exactly once, whoever sent it.
 */
export function runNode(args, { stdin = 'inherit' } = {}) {
  const stdio = [stdin, 'inherit', 'inherit'];
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio, detached: true });
  const tellAll = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // They have ended.
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) {
    let last = Number.NEGATIVE_INFINITY;
    process.on(signal, () => {
      const now = performance.now();
      if (now - last > SAME_SIGNAL_MS) tellAll(signal);
      last = now;
    });
  }
  const killAll = () => tellAll('SIGKILL');
  process.on('exit', killAll);
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      // What it has started may still be clearing up.
      process.off('exit', killAll);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}
