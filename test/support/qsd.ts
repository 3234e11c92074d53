import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import { hasTool } from './tools.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FETCHED = join(ROOT, '.cache', 'qsd10', 'qemu-storage-daemon');
const RECENT_MAJOR = 10;

/** $QSD, or the one that was fetched from backports, or the installed one: a recent one. */
function recentQsd(): string | undefined {
  const candidates = [process.env['QSD'] ?? FETCHED, 'qemu-storage-daemon'];
  return candidates.find((command) => hasTool(command) && majorOf(command) >= RECENT_MAJOR);
}

function majorOf(command: string): number {
  const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)\./.exec(stdout)?.[1] ?? 0);
}

/** `describe` with a qemu-storage-daemon of version 10 or later; skipped by name without one. */
export function describeRecentQsd(title: string, body: (command: string) => void): void {
  const command = recentQsd();
  if (command !== undefined) {
    describe(title, () => body(command));
  } else {
    describe.skip(`${title} [missing: qemu-utils 10, from Debian's backports]`, () => body(''));
  }
}
