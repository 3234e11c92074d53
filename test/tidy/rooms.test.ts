import { describe, expect, it } from 'vitest';
import { forbiddenImports, parseRooms } from './rooms.ts';
import { readText, sourceFiles } from './source-files.ts';

const SAMPLE = `
| room | owns | may import |
| --- | --- | --- |
| \`protocol/nbd\` | the wire | nothing, not even \`node:\` |
| \`src/util\` | helpers | - |
| \`src/net\` | streams | util |
| \`src/daemon\` | everything | all above |
`;

function check(path: string, text: string): string[] {
  return forbiddenImports([{ path, text }], parseRooms(SAMPLE));
}

describe('the rooms', () => {
  it('import only what their rows in docs/ARCHITECTURE.md allow', () => {
    const rooms = parseRooms(readText('docs/ARCHITECTURE.md'));
    expect(rooms.length).toBeGreaterThan(10);
    expect(forbiddenImports(sourceFiles(['src', 'protocol']), rooms)).toEqual([]);
  });
});

describe('the check of the rooms', () => {
  it('lets pass what a row names, the own room and Node', () => {
    const text =
      "import { a } from '../util/a.ts';\nimport { b } from './b.ts';\nimport 'node:fs';\n";
    expect(check('src/net/x.ts', text)).toEqual([]);
    expect(check('src/daemon/x.ts', "import { n } from '../../protocol/nbd/n.ts';\n")).toEqual([]);
  });

  it.each([
    ['an upward import', 'src/util/x.ts', "import { a } from '../net/a.ts';\n"],
    ['a type import', 'src/util/x.ts', "import type { A } from '../net/a.ts';\n"],
    ['several lines', 'src/util/x.ts', "import {\n  a,\n  b,\n} from '../net/a.ts';\n"],
    ['a re-export', 'src/util/x.ts', "export { a } from '../net/a.ts';\n"],
    ['a bare import', 'src/util/x.ts', "import '../net/a.ts';\n"],
    ['a dynamic import', 'src/util/x.ts', "  const a = await import('../net/a.ts');\n"],
    ['node: in protocol', 'protocol/nbd/x.ts', "import { readFile } from 'node:fs';\n"],
    ['a package in protocol', 'protocol/nbd/x.ts', "import { pino } from 'pino';\n"],
    ['the FFI outside of sys', 'src/net/x.ts', "import koffi from 'koffi';\n"],
    ['a room without a row', 'src/net/x.ts', "import { a } from '../attic/a.ts';\n"],
  ])('finds %s', (_what, path, text) => {
    expect(check(path, text)).toHaveLength(1);
  });

  it('finds a file in no room', () => {
    expect(check('src/attic/x.ts', '')).toEqual(['src/attic/x.ts is in no room']);
  });

  it('does not take a comment for an import', () => {
    expect(check('src/util/x.ts', "// import { a } from '../net/a.ts';\n")).toEqual([]);
  });

  it('refuses a table that names an unknown room', () => {
    expect(() => parseRooms(SAMPLE.replace('| util |', '| utils |'))).toThrow('utils');
    expect(() => parseRooms('no table')).toThrow('no table of rooms');
  });
});
