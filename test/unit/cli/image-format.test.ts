import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { imageFormat } from '../../../src/cli/image-format.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'nbd-mirror-test-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

it.each([
  ['qcow2', 'QFI\xfb\0\0\0\x03'],
  ['vmdk', 'KDMV\x01'],
  ['vmdk', '# Disk DescriptorFile\nversion=1\n'],
  ['vhdx', 'vhdxfileQ\0E\0'],
  ['vdi', `<<< Oracle VM VirtualBox Disk Image >>>\n${'\0'.repeat(24)}\x7f\x10\xda\xbe\x01`],
  ['qed', 'QED\0\0'],
  // Its bytes are a disk, though one that needs a key.
  [undefined, 'LUKS\xba\xbe'],
  [undefined, ' QFI\xfb'],
  [undefined, 'QED'],
  [undefined, '\0'.repeat(4096)],
  [undefined, ''],
])('%s is what begins with %j', async (format, head) => {
  const path = join(directory, 'disk');
  writeFileSync(path, head, 'latin1');
  expect(await imageFormat(path)).toBe(format);
});

it('is nothing that cannot be read', async () => {
  expect(await imageFormat(join(directory, 'no'))).toBeUndefined();
  expect(await imageFormat(directory)).toBeUndefined();
});
