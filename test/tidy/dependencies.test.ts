import { describe, expect, it } from 'vitest';
import { mismatched, tiedToRegistry, undocumented } from './dependencies.ts';
import { readText, sourceFiles } from './source-files.ts';

const dependencies = Object.keys(JSON.parse(readText('package.json')).dependencies);

describe('the dependencies', () => {
  it('are named in the README with their reasons', () => {
    expect(undocumented(dependencies, readText('README.md'))).toEqual([]);
  });

  it('are what the program imports', () => {
    expect(mismatched(dependencies, sourceFiles(['src', 'protocol']))).toEqual([]);
  });

  it('come from whatever registry npm is set up with', () => {
    expect(tiedToRegistry(JSON.parse(readText('package-lock.json')))).toEqual([]);
  });
});

describe('the checks of the dependencies', () => {
  it('find one that the section of the README leaves out', () => {
    const readme = '`left` is above\n## Dependencies\n\n| `ws` | page |\n\n## After\n`right`\n';
    expect(undocumented(['ws', 'left', 'right'], readme)).toEqual(['left', 'right']);
    expect(undocumented(['ws'], '## Dependencies\n`ws`')).toEqual([]);
    expect(undocumented(['ws'], 'none')).toEqual(['ws']);
  });

  it('find an undeclared and an unused one', () => {
    const text = "import { a } from '@x/y/z';\nimport 'node:fs';\nimport { b } from './b.ts';\n";
    expect(mismatched(['ws'], [{ path: 'src/a.ts', text }])).toEqual([
      '@x/y is imported but is no dependency',
      'ws is a dependency but is not imported',
    ]);
    expect(mismatched(['@x/y'], [{ path: 'src/a.ts', text }])).toEqual([]);
  });

  it('find an address in a lock file', () => {
    const packages = { a: { version: '1.0.0' }, b: { resolved: 'https://example.test/b.tgz' } };
    expect(tiedToRegistry({ packages })).toEqual(['b']);
  });
});
