/** Files that no way leads to from where the program begins. */
import { importsOf, type SourceFile } from './source-files.ts';

export function deadFiles(files: readonly SourceFile[], entries: readonly string[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const alive = new Set<string>();
  const next = [...entries];
  for (let path = next.pop(); path !== undefined; path = next.pop()) {
    const file = byPath.get(path);
    if (file === undefined || alive.has(path)) continue;
    alive.add(path);
    next.push(...importsOf(file));
  }
  return files.map(({ path }) => path).filter((path) => !alive.has(path));
}
