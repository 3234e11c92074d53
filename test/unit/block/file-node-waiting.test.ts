import fs from 'node:fs';
import { expect, it, vi } from 'vitest';
import { SharedFlush } from '../../../src/block/file-node-flush.ts';
import { BufferedDisk } from '../../../src/block/file-node-io.ts';
import { portableSyscalls } from '../../../src/sys/portable.ts';
import { systemClock } from '../../../src/util/clock.ts';

const MIB = 1 << 20;

/** A disk whose writes beside the pool and on the event loop are counted. */
function countingDisk(asksSomebody: boolean) {
  const counts = { beside: 0, atOnce: 0 };
  const syscalls = {
    ...portableSyscalls,
    write: async () => void counts.beside++,
    writeSync: () => void counts.atOnce++,
  };
  const kind = {
    device: false,
    inMemory: false,
    asksSomebody,
    blockBytes: 4096,
    zeroBlockBytes: 1,
  };
  const flush = new SharedFlush(async () => {});
  return { counts, disk: new BufferedDisk({ syscalls, flush, fd: -1, ...kind }, systemClock) };
}

it('a file system that asks somebody else is never waited for by the event loop', async () => {
  const { counts, disk } = countingDisk(true);
  await disk.write(0, Buffer.alloc(512), 0);
  expect(counts).toEqual({ beside: 1, atOnce: 0 });
});

it('long writes leave most of the pool to others', async () => {
  const callbacks: (() => void)[] = [];
  const write = vi.spyOn(fs, 'write').mockImplementation(((...args: unknown[]) => {
    const callback = args.at(-1) as (error: null, count: number) => void;
    callbacks.push(() => callback(null, MIB));
  }) as typeof fs.write);
  const { counts, disk } = countingDisk(false);
  const data = Buffer.alloc(MIB);
  const writeSix = () => Array.from({ length: 6 }, (_, index) => disk.write(index * MIB, data, 0));
  const first = writeSix();
  expect([callbacks.length, counts.beside]).toEqual([4, 2]);
  for (const end of callbacks.splice(0)) end();
  await Promise.all(first);
  void writeSix();
  expect([callbacks.length, counts.beside]).toEqual([4, 4]);
  write.mockRestore();
});
