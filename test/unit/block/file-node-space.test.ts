import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WRITE_FUA, ZERO_MAY_UNMAP } from '../../../src/block/node.ts';
import { loadSyscalls } from '../../../src/sys/syscalls.ts';
import { silentLog } from '../../../src/util/log.ts';
import { type FileKind, makeDiskFile, openFileNode } from '../../conformance/make-file-node.ts';

const MIB = 1 << 20;

// How much of the file system's space a file node takes and gives back.
describe('the space of a file node', () => {
  let disk: ReturnType<typeof makeDiskFile>;

  beforeEach(() => {
    disk = makeDiskFile(4 * MIB);
  });
  afterEach(() => disk.remove());

  const withNode = async (
    kind: FileKind,
    action: (node: Awaited<ReturnType<typeof openFileNode>>) => Promise<void>,
  ) => {
    const node = await openFileNode(disk.filename, false, kind);
    try {
      await node.write(0, Buffer.alloc(4 * MIB, 1), WRITE_FUA);
      await action(node);
      await node.flush();
      return fs.statSync(disk.filename).blocks * 512;
    } finally {
      await node.close();
    }
  };

  const zeroHalf = (flags: number) => async (node: Awaited<ReturnType<typeof openFileNode>>) => {
    await node.writeZeroes(MIB, 2 * MIB, flags);
  };

  it('is given back by a discard', async () => {
    const used = await withNode({}, async (node) => {
      await node.discard(MIB, 2 * MIB);
      expect(await node.blockStatus(0, 4 * MIB, 10)).toEqual([
        { offset: 0, length: MIB, hole: false, zero: false },
        { offset: MIB, length: 2 * MIB, hole: true, zero: true },
        { offset: 3 * MIB, length: MIB, hole: false, zero: false },
      ]);
    });
    expect(used).toBeLessThan(3 * MIB);
  });

  it('is kept when discards are ignored, and so is the content', async () => {
    const used = await withNode({ discard: 'ignore' }, async (node) => {
      await node.discard(MIB, 2 * MIB);
      const byte = Buffer.alloc(1);
      await node.read(MIB, byte);
      expect(byte[0]).toBe(1);
      expect(node.discards).toBe(false);
    });
    expect(used).toBeGreaterThanOrEqual(4 * MIB);
  });

  it('is given back by zeroes that may be unmapped', async () => {
    expect(await withNode({}, zeroHalf(ZERO_MAY_UNMAP))).toBeLessThan(3 * MIB);
  });

  it('is kept by zeroes that may not, and where discards are ignored', async () => {
    expect(await withNode({}, zeroHalf(0))).toBeGreaterThanOrEqual(4 * MIB);
    expect(await withNode({ discard: 'ignore' }, zeroHalf(ZERO_MAY_UNMAP))).toBeGreaterThanOrEqual(
      4 * MIB,
    );
  });

  it('is asked for once as long as what has data is written', async () => {
    let asked = 0;
    const { extentAt } = loadSyscalls({ ffi: true, log: silentLog });
    const counting: typeof extentAt = (fd, offset, end) => {
      asked++;
      return extentAt(fd, offset, end);
    };
    await withNode({ syscalls: { extentAt: counting } }, async (node) => {
      const status = async () => node.blockStatus(0, 4 * MIB, 10);
      await status();
      await node.write(MIB, Buffer.alloc(4096, 1));
      await status();
      expect(asked).toBe(1);
      await node.writeZeroes(MIB, MIB, ZERO_MAY_UNMAP);
      const isZero = async () => (await node.blockStatus(MIB, MIB, 1))[0]!.zero;
      expect(await isZero()).toBe(true);
      await node.write(MIB, Buffer.alloc(4096, 1));
      expect(await isZero()).toBe(false);
    });
  });

  it('is written where a file system does not like a range', async () => {
    const refuse = async () => {
      throw Object.assign(new Error('unaligned'), { code: 'EINVAL' });
    };
    await withNode({ syscalls: { punchHole: refuse, zeroRange: refuse } }, async (node) => {
      await node.writeZeroes(MIB, 2 * MIB, ZERO_MAY_UNMAP);
      await node.discard(0, MIB);
      const byte = Buffer.alloc(1, 1);
      await node.read(MIB, byte);
      expect(byte[0]).toBe(0);
      expect(node.features.fastZero).toBe(true);
    });
  });

  it.each([
    ['off', false],
    ['on', false],
    ['unmap', true],
  ] as const)('with detect-zeroes %s', async (detectZeroes, givenBack) => {
    const used = await withNode({ detectZeroes }, async (node) => {
      await node.write(MIB, Buffer.alloc(2 * MIB));
      const byte = Buffer.alloc(1, 1);
      await node.read(2 * MIB, byte);
      expect(byte[0]).toBe(0);
    });
    if (givenBack) expect(used).toBeLessThan(3 * MIB);
    else expect(used).toBeGreaterThanOrEqual(4 * MIB);
  });

  it('is not taken by zeroes that are written over a hole with detect-zeroes unmap', async () => {
    const sparse = makeDiskFile(4 * MIB);
    const node = await openFileNode(sparse.filename, false, { detectZeroes: 'unmap' });
    await node.write(0, Buffer.alloc(4 * MIB));
    await node.close();
    expect(fs.statSync(sparse.filename).blocks).toBe(0);
    sparse.remove();
  });
});
