import fs from 'node:fs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { FileNode } from '../../../src/block/file-node.ts';
import { makeDiskFile, openFileNode } from '../../conformance/make-file-node.ts';

/** A file on a file system that is memory is read at once, and can fail so. */
let disk: ReturnType<typeof makeDiskFile>;
let node: FileNode;
beforeEach(async () => {
  disk = makeDiskFile(65_536, '/dev/shm');
  fs.writeFileSync(disk.filename, Buffer.alloc(65_536, 1));
  node = await openFileNode(disk.filename, false);
  vi.spyOn(fs, 'readSync').mockImplementation(() => {
    throw Object.assign(new Error('poisoned'), { code: 'EIO' });
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await node.close();
  disk.remove();
});

it('a failed read is an error of the disk, as one that takes its time', async () => {
  const reading = async () => node.read(0, Buffer.alloc(512));
  await expect(reading()).rejects.toMatchObject({
    name: 'BlockError',
    code: 'EIO',
    message: 'Cannot read 512 bytes at 0 on node "disk0": poisoned',
  });
});

it('what cannot be read is not sent unread', () => {
  expect(node.fileBytes(0, 65_536, true)).toBeUndefined();
  vi.restoreAllMocks();
  expect(node.fileBytes(0, 65_536, true)).toBeDefined();
});
