/**
 * The repository's text, as the tidy tests read it: plain objects, so that samples are easy to
 * feed.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
// Statements begin a line (the formatter sees to that), which keeps text in strings out.
const STATIC_IMPORT = /^(?:import|export)\s[^;'"]*?from\s*'([^']+)'|^import\s*'([^']+)'/gm;
const DYNAMIC_IMPORT = /\bimport\(\s*'([^']+)'\s*\)/g;

export interface SourceFile {
  /** From the root of the repository, with slashes. */
  path: string;
  text: string;
}

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** All files below `folders` whose names end in one of `endings`. */
export function sourceFiles(
  folders: readonly string[],
  endings: readonly string[] = ['.ts'],
): SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
      .map((entry) => posix.join(entry.parentPath.slice(ROOT.length), entry.name))
      .sort()
      .map((path) => ({ path, text: readText(path) })),
  );
}

/** What a file imports: relative paths resolved from the root, everything else as it is written. */
export function importsOf(file: SourceFile): string[] {
  const text = withoutComments(file.text);
  const specifiers = [...text.matchAll(STATIC_IMPORT), ...text.matchAll(DYNAMIC_IMPORT)].map(
    (match) => match[1] ?? match[2]!,
  );
  return specifiers.map((specifier) =>
    specifier.startsWith('.') ? posix.join(posix.dirname(file.path), specifier) : specifier,
  );
}

/** Whole-line comments become empty lines, so that prose is not taken for code. */
export function withoutComments(text: string): string {
  return text.replace(/^\s*(?:\/\/|\/?\*).*$/gm, '');
}
