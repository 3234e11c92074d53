/**
 * What package.json, the lock file, the README and the code say about dependencies, side by side.
 */
import { importsOf, type SourceFile } from './source-files.ts';

/** Runtime dependencies that the section `## Dependencies` of the README does not name. */
export function undocumented(dependencies: readonly string[], readme: string): string[] {
  const section = /^## Dependencies$([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(readme)?.[1] ?? '';
  return dependencies.filter((name) => !section.includes(`\`${name}\``));
}

/** Packages that the program imports without depending on them, and the other way round. */
export function mismatched(
  dependencies: readonly string[],
  files: readonly SourceFile[],
): string[] {
  const imported = new Set(
    files
      .flatMap(importsOf)
      .filter((name) => !/^(?:src|protocol)\/|^node:/.test(name))
      .map((name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/')),
  );
  return [
    ...[...imported]
      .filter((name) => !dependencies.includes(name))
      .map((name) => `${name} is imported but is no dependency`),
    ...dependencies
      .filter((name) => !imported.has(name))
      .map((name) => `${name} is a dependency but is not imported`),
  ];
}

/** Entries of a lock file that tie it to a registry. */
export function tiedToRegistry(lock: { packages: Record<string, object> }): string[] {
  return Object.entries(lock.packages)
    .filter(([, entry]) => 'resolved' in entry)
    .map(([name]) => name);
}
