import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { DirtyPages } from '../../../src/sys/dirty-pages.ts';
import { tempDir } from '../../support/peers.ts';

it.each([
  ['little is dirty', 300, 100, 1000, false],
  ['much is', 501, 0, 1000, true],
  ['much is on its way to the disk', 0, 501, 1000, true],
  ['together it is much', 251, 250, 1000, true],
])('%s', async (_what, dirty, writeback, threshold, expected) => {
  const filename = join(await tempDir(), 'vmstat');
  const numbers = `nr_dirty ${dirty}\nnr_writeback ${writeback}\nnr_writeback_temp 9000\n`;
  writeFileSync(
    filename,
    `nr_dirty_threshold 7\n${numbers}nr_dirty_background_threshold ${threshold}`,
  );
  expect(new DirtyPages(filename).areWrittenBack).toBe(expected);
});

it('a kernel that does not tell is not writing back', async () => {
  const filename = join(await tempDir(), 'vmstat');
  writeFileSync(filename, 'nr_dirty 1000\n');
  expect(new DirtyPages(filename).areWrittenBack).toBe(false);
});
