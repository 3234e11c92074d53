import { expect, it } from 'vitest';
import { DIFFERENCES, type Difference } from '../../protocol/qmp/differences.ts';
import { readText, sourceFiles } from './source-files.ts';

// A script of the differential test names its row; what has no row does not compile there.
const scripts = sourceFiles(['test/interop', 'test/iotests', 'test/support']);
const rows: [string, Difference][] = Object.entries(DIFFERENCES);

it.each(rows)('the difference %s is shown by a test', (key, { shownBy }) => {
  if (shownBy === undefined) {
    const used = scripts.some(({ text }) => text.includes(`row: '${key}'`));
    expect(used, `no differential test has row: '${key}'`).toBe(true);
    return;
  }
  const [file, title] = shownBy;
  expect(readText(file).includes(title), `${file} has no test '${title}'`).toBe(true);
});
