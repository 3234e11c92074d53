import { describe, expect, it } from 'vitest';
import { deadFiles } from './dead-files.ts';
import { sourceFiles } from './source-files.ts';

describe('the program', () => {
  it('has no file that it never loads', () => {
    // The schema's documentation is for the reference page.
    const files = sourceFiles(['src', 'protocol', 'scripts']);
    expect(deadFiles(files, ['src/cli/main.ts', 'scripts/docs.ts'])).toEqual([]);
  });
});

describe('the check for dead files', () => {
  it('follows imports of every kind, round in circles too', () => {
    const files = [
      { path: 'src/main.ts', text: "import { a } from './a.ts';\nawait import('./b.ts');\n" },
      { path: 'src/a.ts', text: "export { c } from './c.ts';\n" },
      { path: 'src/b.ts', text: "import { main } from './main.ts';\n" },
      { path: 'src/c.ts', text: '' },
    ];
    expect(deadFiles(files, ['src/main.ts'])).toEqual([]);
  });

  it('finds files that only each other import', () => {
    const files = [
      { path: 'src/main.ts', text: '' },
      { path: 'src/a.ts', text: "import { b } from './b.ts';\n" },
      { path: 'src/b.ts', text: "import { a } from './a.ts';\n" },
    ];
    expect(deadFiles(files, ['src/main.ts'])).toEqual(['src/a.ts', 'src/b.ts']);
  });
});
