/**
 * Which programs of other projects are here, and which Debian package brings those that are not.
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/** Program -> Debian package; one table for the tests and for the scripts that install them. */
export const PACKAGE_OF_TOOL: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL('./peer-packages.json', import.meta.url), 'utf8'),
);

/** With the places of administrators' programs, which a plain user's PATH often leaves out. */
export const SEARCH_PATH = [process.env['PATH'] ?? '', '/usr/sbin', '/sbin'].join(delimiter);
const known = new Map<string, boolean>();

/** Whether `name` can be started, by PATH or by absolute path. */
export function hasTool(name: string): boolean {
  let found = known.get(name);
  if (found === undefined) {
    const directories = SEARCH_PATH.split(delimiter);
    const paths = isAbsolute(name) ? [name] : directories.map((directory) => join(directory, name));
    found = paths.some(isExecutable);
    known.set(name, found);
  }
  return found;
}

/** The Debian packages that bring those of `tools` that are not here; sorted, without repeats. */
export function missingPackages(tools: readonly string[]): string[] {
  const missing = tools.filter((tool) => !hasTool(tool));
  return [...new Set(missing.map((tool) => PACKAGE_OF_TOOL[tool] ?? tool))].sort();
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
