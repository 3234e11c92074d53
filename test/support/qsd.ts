import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import { describePeers } from './peers.ts';
import { hasTool } from './tools.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FETCHED = join(ROOT, '.cache', 'qsd10', 'qemu-storage-daemon');
const INSTALLED = 'qemu-storage-daemon';
const RECENT_MAJOR = 10;
const installedIsRecent = isRecent(INSTALLED);
/** $QSD, or the one that was fetched from backports, or the installed one. */
const recent = [process.env['QSD'] ?? FETCHED, INSTALLED].find(isRecent);

function isRecent(command: string): boolean {
  if (!hasTool(command)) return false;
  const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)\./.exec(stdout)?.[1]) >= RECENT_MAJOR;
}

/** `describe` with a qemu-storage-daemon of version 10 or later; skipped by name without one. */
export function describeRecentQsd(title: string, body: (program: string) => void): void {
  if (recent !== undefined) {
    describe(title, () => body(recent));
  } else {
    describe.skip(`${title} [missing: qemu-utils 10, from Debian's backports]`, () => body(''));
  }
}

/** Beside the installed qemu-storage-daemon, and where that is older, beside a recent one too. */
export function describeQsds(
  title: string,
  tools: readonly string[],
  body: (program: string) => void,
): void {
  describePeers(title, [INSTALLED, ...tools], () => body(INSTALLED));
  if (installedIsRecent) return;
  describePeers(title, tools, () => describeRecentQsd('of version 10', body));
}
