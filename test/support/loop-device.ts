/** Loop devices, which are real block devices over files; for root. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Scope } from './process.ts';
import { hasTool, SEARCH_PATH } from './tools.ts';

export interface LoopDevice {
  readonly path: string;
  /** Before its scope ends; its number may belong to somebody else at once. */
  detach(): void;
}

/** What the machine lacks for a loop device, or undefined. */
export function lackForLoopDevice(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  if (!existsSync('/dev/loop-control')) return '/dev/loop-control (kernel module loop)';
  return hasTool('losetup') ? undefined : 'losetup (package mount)';
}

/** `options` as of losetup(8). */
export function attachLoop(
  scope: Scope,
  file: string,
  options: readonly string[] = [],
): LoopDevice {
  const path = losetup(['--find', '--show', ...options, file]).trim();
  return { path, detach: scope.owns(() => void losetup(['--detach', path])) };
}

function losetup(args: readonly string[]): string {
  const env = { ...process.env, PATH: SEARCH_PATH };
  return execFileSync('losetup', args, { encoding: 'utf8', env });
}
