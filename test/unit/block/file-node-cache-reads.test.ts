import { describe, expect, it } from 'vitest';
import { SharedFlush } from '../../../src/block/file-node-flush.ts';
import { BufferedDisk, UNCACHED_READS_MAX } from '../../../src/block/file-node-io.ts';
import { portableSyscalls } from '../../../src/sys/portable.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const BYTES = 4096;

/** A disk whose page cache has what the test says; it counts both ways of reading. */
function cachedDisk() {
  const cache = { hasBytes: 0, asked: 0 };
  const fromDisk: { offset: number; length: number }[] = [];
  const syscalls = {
    ...portableSyscalls,
    readCached: () => {
      cache.asked++;
      return cache.hasBytes;
    },
    read: async (_fd: number, { length }: Buffer, offset: number) => {
      fromDisk.push({ offset, length });
    },
  };
  const kind = {
    device: false,
    inMemory: false,
    asksSomebody: false,
    blockBytes: BYTES,
    zeroBlockBytes: 1,
  };
  const disk = new BufferedDisk(
    { syscalls, flush: new SharedFlush(async () => {}), fd: -1, ...kind },
    new FakeClock(),
  );
  const read = (times: number) => {
    for (let time = 0; time < times; time++) void disk.read(0, Buffer.alloc(BYTES));
  };
  return { cache, fromDisk, read };
}

describe('reads of a file', () => {
  it('go to the disk unasked, most of them, while the page cache has none of it', () => {
    const { cache, fromDisk, read } = cachedDisk();
    read(10 * UNCACHED_READS_MAX);
    expect(fromDisk).toHaveLength(10 * UNCACHED_READS_MAX);
    expect(cache.asked).toBeGreaterThan(10);
    expect(cache.asked).toBeLessThan(20);
  });

  it('ask the page cache each time again once it has had one', () => {
    const { cache, fromDisk, read } = cachedDisk();
    read(1000);
    cache.hasBytes = BYTES;
    read(UNCACHED_READS_MAX + 1);
    const [askedBefore, readBefore] = [cache.asked, fromDisk.length];
    read(100);
    expect([cache.asked - askedBefore, fromDisk.length - readBefore]).toEqual([100, 0]);
  });

  it('read from the disk what the page cache has not got of one', () => {
    const { cache, fromDisk, read } = cachedDisk();
    cache.hasBytes = 1024;
    read(1);
    expect(fromDisk).toEqual([{ offset: 1024, length: BYTES - 1024 }]);
  });
});
