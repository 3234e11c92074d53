import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockError } from '../../../src/util/errors.ts';
import { makeDiskFile, openFileNode } from '../../conformance/make-file-node.ts';

describe('opening a file node', () => {
  let disk: ReturnType<typeof makeDiskFile>;

  beforeEach(() => {
    disk = makeDiskFile(65_536);
  });
  afterEach(() => disk.remove());

  it('says what it opened', async () => {
    const node = await openFileNode(disk.filename, false);
    expect(node.driver).toBe('file');
    expect(node.size).toBe(65_536);
    expect(node.filename).toBe(disk.filename);
    await node.close();
  });

  it('names the file that is not there', async () => {
    const opening = openFileNode('/nowhere/disk.img', true);
    await expect(opening).rejects.toBeInstanceOf(BlockError);
    await expect(openFileNode('/nowhere/disk.img', true)).rejects.toThrow(
      /^Could not open "\/nowhere\/disk.img": No such file or directory$/,
    );
  });

  it('refuses a directory', async () => {
    await expect(openFileNode('/tmp', true)).rejects.toThrow(
      'Could not open "/tmp": it is a directory, not a regular file or a block device',
    );
  });

  it('refuses a FIFO, without waiting for its other end', async () => {
    const fifo = `${disk.filename}.fifo`;
    execFileSync('mkfifo', [fifo]);
    await expect(openFileNode(fifo, true)).rejects.toThrow('it is a FIFO');
  });

  it('refuses a character device', async () => {
    await expect(openFileNode('/dev/null', true)).rejects.toThrow('it is a character device');
  });

  it('takes an empty file', async () => {
    fs.truncateSync(disk.filename, 0);
    const node = await openFileNode(disk.filename, false);
    expect(node.size).toBe(0);
    await node.close();
  });

  it('refuses past the page cache what does not consist of blocks', async () => {
    fs.truncateSync(disk.filename, 65_537);
    await expect(openFileNode(disk.filename, true, { direct: true })).rejects.toThrow(
      `Could not open "${disk.filename}" with cache.direct: its 65537 bytes are not a multiple of`,
    );
  });

  it('says that it cannot go past the page cache without the FFI', async () => {
    const opening = openFileNode(disk.filename, true, { direct: true, ffi: false });
    await expect(opening).rejects.toThrow('with cache.direct: Operation not supported');
  });

  describe('lock', () => {
    it('lets one writer in at a time', async () => {
      const writer = await openFileNode(disk.filename, false);
      await expect(openFileNode(disk.filename, false)).rejects.toThrow(
        `Failed to get "write" lock: is another process using the image "${disk.filename}"?`,
      );
      await expect(openFileNode(disk.filename, true)).rejects.toThrow(
        'Failed to get shared "write" lock',
      );
      await writer.close();
      await (await openFileNode(disk.filename, false)).close();
    });

    it('lets many readers in, and no writer with them', async () => {
      const readers = [
        await openFileNode(disk.filename, true),
        await openFileNode(disk.filename, true),
      ];
      await expect(openFileNode(disk.filename, false)).rejects.toThrow(
        'Failed to get "write" lock',
      );
      for (const reader of readers) await reader.close();
    });
  });
});
