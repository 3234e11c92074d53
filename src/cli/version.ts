import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The package's folder: two levels up from the sources, one from what is built of them. */
const root = ['../../', '../']
  .map((path) => new URL(path, import.meta.url))
  .find((url) => existsSync(new URL('package.json', url)))!;

/** The path of a file that comes with the package. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(path, root));
}

export const version = (
  JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }
).version;
