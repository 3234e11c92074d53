import fs from 'node:fs';
import { expect, it } from 'vitest';
import { makeDiskFile, openFileNode } from '../../conformance/make-file-node.ts';

it.each([true, false])('a file that shrank is an error, with the FFI: %s', async (ffi) => {
  const disk = makeDiskFile(65_536);
  const node = await openFileNode(disk.filename, true, { ffi });
  fs.truncateSync(disk.filename, 5000);
  const reading = async () => node.read(4096, Buffer.alloc(4096));
  await expect(reading()).rejects.toThrow(
    'Cannot read 4096 bytes at 4096 on node "disk0": ' +
      'the file has shrunk: it has at most 5000 bytes',
  );
  await expect(reading()).rejects.toMatchObject({ code: 'EIO' });
  // Whoever asks first has to read it, and finds out.
  const [extent] = await node.blockStatus(8192, 8192, 1);
  expect(extent).toMatchObject({ hole: false, zero: false });
  await node.close();
  disk.remove();
});
