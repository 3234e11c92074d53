import { describe, expect, it } from 'vitest';
import { bannedCalls, defaultExports, LINE_COLUMNS_MAX, oversized } from './house-rules.ts';
import { sourceFiles } from './source-files.ts';

const program = sourceFiles(['src', 'protocol']);
const everything = [...program, ...sourceFiles(['test', 'scripts'], ['.ts', '.mjs'])];

describe('the house rules', () => {
  it('keep files and lines short', () => {
    expect(oversized(everything)).toEqual([]);
  });

  it('keep time, randomness, settings and the terminal at the edges', () => {
    expect(bannedCalls(program)).toEqual([]);
  });

  it('know no default export', () => {
    expect(defaultExports(everything)).toEqual([]);
  });
});

describe('the check of the house rules', () => {
  it('finds a long line and a long file', () => {
    const line = 'x'.repeat(LINE_COLUMNS_MAX);
    expect(oversized([{ path: 'a.ts', text: `${line}\n` }])).toEqual([]);
    expect(oversized([{ path: 'a.ts', text: `\n${line}x\n` }])).toEqual([
      'a.ts:2 is longer than a line may be',
    ]);
    expect(oversized([{ path: 'a.ts', text: 'x\n'.repeat(500) }])).toEqual([]);
    expect(oversized([{ path: 'a.ts', text: 'x\n'.repeat(501) }])).toEqual(['a.ts has 501 lines']);
  });

  it.each([
    'const t = Date.now();',
    'const t = new Date();',
    'const t = performance.now();',
    'setTimeout(f, 1);',
    'setInterval(f, 1);',
    'setImmediate(f);',
    'const r = Math.random();',
    "const e = process.env['HOME'];",
    "console.log('x');",
  ])('finds %s', (text) => {
    expect(bannedCalls([{ path: 'src/block/a.ts', text }])).toHaveLength(1);
  });

  it('lets the edges call them, and prose name them', () => {
    expect(bannedCalls([{ path: 'src/util/clock.ts', text: 'setTimeout(f, 1);' }])).toEqual([]);
    expect(bannedCalls([{ path: 'src/cli/a.ts', text: "console.log('x');" }])).toEqual([]);
    expect(bannedCalls([{ path: 'src/block/a.ts', text: '// no Date.now here' }])).toEqual([]);
  });

  it('finds a default export', () => {
    const texts = ['export default 1;', 'export default class A {}', 'export { a as default };'];
    const files = texts.map((text, index) => ({ path: `${index}.ts`, text }));
    expect(defaultExports(files)).toEqual(['0.ts', '1.ts', '2.ts']);
    expect(defaultExports([{ path: 'a.ts', text: 'export const a = 1;' }])).toEqual([]);
  });
});
