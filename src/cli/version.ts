import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The package's folder: one level up from what is built, two from the sources. In this order, or a
 * package around ours would be taken for it.
 */
const root = ['../', '../../']
  .map((path) => new URL(path, import.meta.url))
  .find((url) => existsSync(new URL('package.json', url)))!;

/** The path of a file that comes with the package. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(path, root));
}

export const version = (
  JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }
).version;
