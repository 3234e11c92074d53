import { expect, it } from 'vitest';
import { renderReference } from '../../scripts/qmp-reference.ts';
import { readText } from './source-files.ts';

it('docs/qmp-reference.md is what the schema says: if not, npm run docs', () => {
  const stale = readText('docs/qmp-reference.md') !== renderReference();
  expect(stale, 'stale: run `npm run docs` and commit docs/qmp-reference.md').toBe(false);
});
