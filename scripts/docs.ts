/** `npm run docs`: writes docs/qmp-reference.md anew. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { renderReference } from './qmp-reference.ts';

const page = fileURLToPath(new URL('../docs/qmp-reference.md', import.meta.url));
writeFileSync(page, renderReference());
