import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasTool } from './tools.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FETCHED = join(ROOT, '.cache', 'qsd10', 'qemu-storage-daemon');

/** $QSD, or the one that was fetched for the benchmark, or the installed one. */
export function newestQsd(): string {
  return process.env['QSD'] ?? (hasTool(FETCHED) ? FETCHED : 'qemu-storage-daemon');
}
