import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import type { FileNode } from '../../../src/block/file-node.ts';
import { WRITE_FUA } from '../../../src/block/node.ts';
import { type FileKind, makeDiskFile, openFileNode } from '../../conformance/make-file-node.ts';

// Without the FFI a durable write is a write and an fdatasync, so all of it can be counted.
describe('a file node puts data on stable storage', () => {
  let disk: ReturnType<typeof makeDiskFile>;
  let syncs: MockInstance<typeof fs.fdatasync>;

  beforeEach(() => {
    disk = makeDiskFile(65_536);
    syncs = vi.spyOn(fs, 'fdatasync');
  });
  afterEach(() => {
    syncs.mockRestore();
    disk.remove();
  });

  const open = (kind: FileKind = {}) => openFileNode(disk.filename, false, { ffi: false, ...kind });

  const syncsOf = async (node: FileNode, action: () => unknown): Promise<number> => {
    syncs.mockClear();
    await action();
    const count = syncs.mock.calls.length;
    await node.close();
    return count;
  };

  it.each([
    ['a flush', (node: FileNode) => node.flush(), 1],
    ['a plain write', (node: FileNode) => node.write(0, Buffer.alloc(512, 1)), 0],
    ['a write with FUA', (node: FileNode) => node.write(0, Buffer.alloc(512, 1), WRITE_FUA), 1],
    ['zeroes', (node: FileNode) => node.writeZeroes(0, 512), 0],
    ['zeroes with FUA', (node: FileNode) => node.writeZeroes(0, 512, WRITE_FUA), 1],
    ['a discard with FUA', (node: FileNode) => node.discard(0, 512, WRITE_FUA), 1],
  ] as const)('for %s', async (_what, action, expected) => {
    const node = await open();
    expect(await syncsOf(node, () => action(node))).toBe(expected);
    const careless = await open({ noFlush: true });
    expect(await syncsOf(careless, () => action(careless))).toBe(0);
  });

  it('when it is closed', async () => {
    const node = await open();
    await node.write(0, Buffer.alloc(512, 1));
    syncs.mockClear();
    await node.close();
    expect(syncs).toHaveBeenCalledTimes(1);
  });

  // Of pages that a thin volume had no room for, or a medium did not take.
  it.each(['EIO', 'ENOSPC', 'ENODATA'])(
    'or says that it could not, also when a write has been told of it, by %s',
    async (code) => {
      const node = await open();
      syncs.mockImplementationOnce((_fd, callback) => {
        callback(Object.assign(new Error('lost'), { code }));
      });
      const durable = async () => node.write(0, Buffer.alloc(512, 1), WRITE_FUA);
      await expect(durable()).rejects.toThrow('lost');
      await expect(node.flush()).rejects.toThrow('Cannot flush on node "disk0": lost');
      await expect(node.close()).rejects.toThrow('lost');
    },
  );

  it('after a write that a sandbox does not let us make durable', async () => {
    const writeDurable = async () => {
      throw Object.assign(new Error('no RWF_DSYNC'), { code: 'EOPNOTSUPP' });
    };
    const node = await open({ syscalls: { writeDurable } });
    const durable = async () => node.write(0, Buffer.alloc(512, 1), WRITE_FUA);
    await expect(durable()).rejects.toThrow('no RWF_DSYNC');
    await node.flush();
    await node.close();
  });

  it.each([
    ['had no room itself', 'ENOSPC'],
    ['may have been told of it', 'EIO'],
  ])('after a write that %s', async (_what, code) => {
    const node = await open();
    const failing = vi.spyOn(fs, 'write').mockImplementation(((...args: unknown[]) => {
      const callback = args.at(-1) as (error: Error) => void;
      callback(Object.assign(new Error('failed'), { code }));
    }) as typeof fs.write);
    const durable = async () => node.write(0, Buffer.alloc(512, 1), WRITE_FUA);
    await expect(durable()).rejects.toThrow('failed');
    failing.mockRestore();
    await durable();
    if (code === 'ENOSPC') await node.flush();
    else await expect(node.flush()).rejects.toThrow('failed');
    await node.close().catch(() => {});
  });

  it('or says that it could not', async () => {
    const node = await open();
    syncs.mockImplementationOnce((_fd, callback) => {
      callback(Object.assign(new Error('lost'), { code: 'EIO' }));
    });
    await expect(node.flush()).rejects.toThrow('Cannot flush on node "disk0": lost');
    await expect(node.close()).rejects.toThrow('lost');
  });
});
