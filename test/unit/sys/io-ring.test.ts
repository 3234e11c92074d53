import fs from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { expect, it } from 'vitest';
import { IoRing } from '../../../src/sys/io-ring.ts';
import { IO_RING_ENTRIES } from '../../../src/util/limits.ts';
import { kernelHasRings } from '../../support/io-ring.ts';
import { libc, libcWith } from '../../support/libc.ts';

const { EAGAIN, EFAULT } = constants.errno;

/** Rings and sockets that this process has open. */
function open(): number {
  return fs.readdirSync('/proc/self/fd').filter((name) => {
    try {
      return /io_uring|socket:/.test(fs.readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      return false;
    }
  }).length;
}

function address(buffer: Buffer): number {
  const memmove = libc.func('uintptr_t memmove(void *to, const void *from, size_t n)');
  return memmove(buffer, buffer, 0);
}

/** A read of it waits until something is written. */
function pipe(): { from: number; to: number } {
  const fds = new Int32Array(new ArrayBuffer(8));
  libc.func('int pipe(void *fds)')(fds);
  return { from: fds[0]!, to: fds[1]! };
}

async function readPipe(ring: IoRing): Promise<string> {
  const { from, to } = pipe();
  const buffer = Buffer.alloc(5);
  const done = ring.read(from, buffer, 0);
  setTimeout(() => fs.writeSync(to, 'bells'), 10);
  await done;
  return buffer.toString();
}

it('a ring without room to share with the kernel is no ring, and is closed', () => {
  const withoutRoom = libcWith((declaration) =>
    declaration.includes(' *mmap(') ? () => 2n ** 64n - 1n : undefined,
  );
  const before = open();
  expect(() => new IoRing(withoutRoom, address)).toThrow();
  expect(open()).toBe(before);
});

it.runIf(kernelHasRings())('tells of what ends later', async () => {
  const ring = new IoRing(libc, address);
  expect(await readPipe(ring)).toBe('bells');
  expect(await Promise.all(Array.from({ length: 8 }, () => readPipe(ring)))).toHaveLength(8);
});

it.runIf(kernelHasRings())('begins at once, not behind the rest of a turn', async () => {
  let begun = 0;
  const counting = libcWith((declaration) => {
    if (!declaration.includes('submit')) return undefined;
    const enter = libc.func(declaration);
    return (...args) => {
      begun++;
      return enter(...args);
    };
  });
  const ring = new IoRing(counting, address);
  const { from, to } = pipe();
  const reads = [ring.read(from, Buffer.alloc(5), 0)];
  expect(begun).toBe(1);
  reads.push(ring.read(from, Buffer.alloc(5), 0));
  expect(begun).toBe(2);
  fs.writeSync(to, 'bellsbells');
  await Promise.all(reads);
});

it.runIf(kernelHasRings())('has a queue for more than fit into it', async () => {
  const ring = new IoRing(libc, address);
  const { from, to } = pipe();
  const all = Array.from({ length: 2 * IO_RING_ENTRIES }, () =>
    ring.read(from, Buffer.alloc(5), 0),
  );
  fs.writeSync(to, 'bells'.repeat(all.length));
  expect(await Promise.all(all)).toHaveLength(all.length);
});

it.runIf(kernelHasRings())('asks again when the kernel has no memory for a moment', async () => {
  // Long enough for bells to fill the ring.
  let refusals = 2 * IO_RING_ENTRIES;
  const short = libcWith((declaration) => {
    if (!declaration.includes('submit')) return undefined;
    const enter = libc.func(declaration);
    return (...args) => {
      if (refusals === 0) return enter(...args);
      refusals--;
      // It takes nothing and says so, or says nothing of why.
      const taken = refusals % 2 === 0 ? 0 : -1;
      koffi.errno(taken === 0 ? EFAULT : EAGAIN);
      return taken;
    };
  });
  const ring = new IoRing(short, address);
  expect(await readPipe(ring)).toBe('bells');
  expect(refusals).toBe(0);

  // The first ends, and rings, while there is no memory for the second.
  const first = readPipe(ring);
  await sleep(2);
  const { from, to } = pipe();
  const second = ring.read(from, Buffer.alloc(5), 0);
  refusals = Number.POSITIVE_INFINITY;
  await first;
  await sleep(2);
  refusals = 0;
  await sleep(2);
  fs.writeSync(to, 'bells');
  await second;
});

it.runIf(kernelHasRings())('does not wait for itself while the kernel has no memory', async () => {
  // Each that is begun rings by hand, and a socket holds only so many bytes.
  let hasMemory = false;
  const short = libcWith((declaration) => {
    if (!declaration.includes('submit')) return undefined;
    const enter = libc.func(declaration);
    return (...args) => {
      if (hasMemory) return enter(...args);
      koffi.errno(EAGAIN);
      return -1;
    };
  });
  const ring = new IoRing(short, address);
  const { from, to } = pipe();
  const all = Array.from({ length: 4 * IO_RING_ENTRIES }, () =>
    ring.read(from, Buffer.alloc(5), 0),
  );
  hasMemory = true;
  fs.writeSync(to, 'bells'.repeat(all.length));
  expect(await Promise.all(all)).toHaveLength(all.length);
});

it.runIf(kernelHasRings())('goes on when the kernel refuses the bell', async () => {
  // The bell's memory is the only one of this size: its time-out cannot be read.
  const nowhere = (buffer: Buffer) => (buffer.length === 48 ? 0 : address(buffer));
  const ring = new IoRing(libc, nowhere);
  expect(await readPipe(ring)).toBe('bells');
});
