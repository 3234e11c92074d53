import { beforeEach, describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { type Completion, WRITE_FUA } from '../../../src/block/node.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const SIZE = 1 << 20;
const GRANULE = 65_536;

describe('a node that records its changes', () => {
  let node: ShakyNode;

  beforeEach(() => {
    node = new ShakyNode(new MemoryNode('disk0', { size: SIZE }));
  });

  const newBitmap = (enabled: boolean) => {
    const bitmap = new DirtyBitmap({ size: SIZE, granularity: GRANULE, enabled });
    node.addBitmap(bitmap);
    return bitmap;
  };

  const changes: [string, (offset: number) => Completion][] = [
    ['write', (offset) => node.write(offset, Buffer.alloc(512, 1))],
    ['write of zeroes', (offset) => node.writeZeroes(offset, 512)],
    ['discard', (offset) => node.discard(offset, 512)],
  ];

  describe.each(changes)('%s', (_what, change) => {
    it('is marked when it fails at once', () => {
      const bitmap = newBitmap(true);
      node.meddle = () => {
        throw new Error('no');
      };
      expect(() => change(GRANULE)).toThrow('no');
      expect(bitmap.nextDirtyRun(0, SIZE)).toEqual({ offset: GRANULE, length: GRANULE });
    });

    it('is marked when it fails later', async () => {
      const bitmap = newBitmap(true);
      node.meddle = () => Promise.reject(new Error('no'));
      const failing = change(GRANULE);
      bitmap.clear();
      await expect(failing).rejects.toThrow('no');
      expect(bitmap.nextDirtyRun(0, SIZE)).toEqual({ offset: GRANULE, length: GRANULE });
    });

    it('is marked as soon as it begins and again when it ends', async () => {
      const bitmap = newBitmap(true);
      const { gate, open } = newGate();
      node.meddle = () => gate;
      const changing = change(0);
      expect(bitmap.count).toBe(GRANULE);
      bitmap.clear();
      open();
      await changing;
      expect(bitmap.count).toBe(GRANULE);
    });

    it('is marked in a bitmap that stopped recording meanwhile', async () => {
      const bitmap = newBitmap(true);
      const { gate, open } = newGate();
      node.meddle = () => gate;
      const changing = change(0);
      bitmap.clear();
      node.setRecording(bitmap, false);
      open();
      await changing;
      expect(bitmap.count).toBe(GRANULE);
    });

    it('is marked in a bitmap that began to record meanwhile', async () => {
      const bitmap = newBitmap(false);
      const { gate, open } = newGate();
      node.meddle = () => gate;
      const changing = change(0);
      expect(bitmap.isClean).toBe(true);
      node.setRecording(bitmap, true);
      open();
      await changing;
      expect(bitmap.count).toBe(GRANULE);
    });

    it('is not marked in a bitmap that does not record', async () => {
      const bitmap = newBitmap(true);
      node.setRecording(bitmap, false);
      await change(0);
      expect(bitmap.isClean).toBe(true);
    });

    it('is not marked in a bitmap that was removed before', async () => {
      const bitmap = newBitmap(true);
      node.removeBitmap(bitmap);
      await change(0);
      expect(bitmap.isClean).toBe(true);
    });
  });

  describe('and takes no discards', () => {
    beforeEach(() => {
      const features = { ...node.features, discard: false };
      Object.defineProperty(node, 'features', { get: () => features });
    });

    it('marks none, and is asked to do nothing', async () => {
      const bitmap = newBitmap(true);
      await node.discard(0, SIZE);
      expect([bitmap.isClean, node.log]).toEqual([true, []]);
    });

    it('is flushed all the same when one is to be durable', async () => {
      await node.discard(0, SIZE, WRITE_FUA);
      expect(node.log).toEqual(['flush 0+0']);
    });
  });

  it('finds its bitmaps by name', () => {
    const bitmap = new DirtyBitmap({ name: 'b0', size: SIZE, granularity: GRANULE });
    node.addBitmap(bitmap);
    expect(node.findBitmap('b0')).toBe(bitmap);
    expect(node.findBitmap('b1')).toBeUndefined();
  });
});

function newGate(): { gate: Promise<void>; open: () => void } {
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { gate, open };
}
