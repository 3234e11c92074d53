import { existsSync } from 'node:fs';

/** What the machine lacks to mount an export by nbdfuse, or undefined. */
export function lackForFuse(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  return existsSync('/dev/fuse') ? undefined : '/dev/fuse';
}
