import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { currentScope, startProcess, tempDir } from './peers.ts';
import type { RunningProcess } from './process.ts';

/** Of `mountByFuse`. */
export const FUSE_TOOLS: readonly string[] = ['nbdfuse', 'fusermount3'];

/** What the machine lacks beside them, or undefined. */
export function lackForFuse(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  return existsSync('/dev/fuse') ? undefined : '/dev/fuse';
}

/** The export at `uri` as a file of this host, until the test has ended. */
export async function mountByFuse(uri: string): Promise<{ file: string; fuse: RunningProcess }> {
  const mountPoint = join(await tempDir(), 'fuse');
  mkdirSync(mountPoint);
  const file = join(mountPoint, 'disk');
  const fuse = await startProcess('nbdfuse', [file, uri]);
  // Also when whoever serves it does not answer.
  currentScope().owns(() => void execFileSync('fusermount3', ['-uz', mountPoint]));
  await fuse.waitUntil(() => existsSync(file), 'the fuse mount');
  return { file, fuse };
}
