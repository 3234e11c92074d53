import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import koffi from 'koffi';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileMap } from '../../../src/sys/file-map.ts';
import { loadSyscalls } from '../../../src/sys/syscalls.ts';
import { silentLog } from '../../../src/util/log.ts';
import { makeDiskFile } from '../../conformance/make-file-node.ts';
import { connectionPair } from '../../support/connection-pair.ts';

const SIZE = 1 << 20;

// What both sets of system calls must do, each as far as it goes.
describe.each([{ ffi: true }, { ffi: false }])('system calls, ffi: $ffi', ({ ffi }) => {
  const syscalls = loadSyscalls({ ffi, log: silentLog });
  let disk: ReturnType<typeof makeDiskFile>;
  let fd: number;

  beforeEach(() => {
    disk = makeDiskFile(SIZE);
    fd = fs.openSync(disk.filename, 'r+');
  });
  afterEach(() => {
    fs.closeSync(fd);
    disk.remove();
  });

  const content = () => fs.readFileSync(disk.filename);

  it('write all of a part of a larger buffer, now or durably', async () => {
    const whole = Buffer.from('xxxhello worldxxx');
    syscalls.writeSync(fd, whole.subarray(3, 14), 4091);
    expect(content().toString('latin1', 4091, 4102)).toBe('hello world');
    await syscalls.writeDurable(fd, whole.subarray(3, 8), 100);
    expect(content().toString('latin1', 100, 105)).toBe('hello');
  });

  it('fill a part of a larger buffer, and write one, wherever the data is', async () => {
    fs.writeSync(fd, 'hello world', 4091);
    const whole = Buffer.alloc(20, 'x');
    await syscalls.read(fd, whole.subarray(3, 14), 4091);
    expect(whole.toString()).toBe('xxxhello worldxxxxxx');
    await syscalls.write(fd, whole.subarray(3, 8), SIZE - 5);
    expect(content().toString('latin1', SIZE - 5)).toBe('hello');
    await syscalls.read(fd, Buffer.alloc(0), 0);
  });

  it('read and write more at a time than can be in flight', async () => {
    const parts = Array.from({ length: 1024 }, (_, index) => Buffer.alloc(512, index * 7 + 1));
    await Promise.all(parts.map((part, index) => syscalls.write(fd, part, index * 512)));
    expect(
      content()
        .subarray(0, 1024 * 512)
        .equals(Buffer.concat(parts)),
    ).toBe(true);
    const found = parts.map(() => Buffer.alloc(512));
    await Promise.all(found.map((part, index) => syscalls.read(fd, part, index * 512)));
    expect(Buffer.concat(found).equals(Buffer.concat(parts))).toBe(true);
  });

  it('say where a file ends too early, and go on', async () => {
    await expect(syscalls.read(fd, Buffer.alloc(8192), SIZE - 4096)).rejects.toMatchObject({
      code: 'EIO',
      message: `the file has shrunk: it has at most ${SIZE} bytes`,
    });
    const buffer = Buffer.alloc(4096, 1);
    await syscalls.read(fd, buffer, SIZE - 4096);
    expect(buffer.equals(Buffer.alloc(4096))).toBe(true);
  });

  it('write durably many at a time', async () => {
    const parts = Array.from({ length: 100 }, (_, index) => Buffer.alloc(512, index + 1));
    await Promise.all(parts.map((part, index) => syscalls.writeDurable(fd, part, index * 512)));
    expect(content().subarray(0, 51_200).equals(Buffer.concat(parts))).toBe(true);
  });

  it('never claim to have read what they have not', () => {
    fs.writeSync(fd, Buffer.alloc(8192, 7), 0, 8192, 0);
    const buffer = Buffer.alloc(8192);
    const count = syscalls.readCached(fd, buffer, 0);
    expect(buffer.subarray(0, count).equals(Buffer.alloc(count, 7))).toBe(true);
    expect(syscalls.readCached(fd, buffer, SIZE)).toBe(0);
  });

  it('name the errno of a failure', async () => {
    const closed = 1_000_000;
    expect(() => syscalls.writeSync(closed, Buffer.alloc(1), 0)).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
    for (const call of ['read', 'write', 'writeDurable'] as const) {
      await expect(syscalls[call](closed, Buffer.alloc(1), 0)).rejects.toMatchObject({
        code: 'EBADF',
        message: expect.stringContaining('bad file descriptor'),
      });
    }
  });

  it('never call data a hole', () => {
    fs.writeSync(fd, Buffer.alloc(4096, 7), 0, 4096, 65_536);
    for (let at = 0; at < SIZE; ) {
      const { data, end } = syscalls.extentAt(fd, at, SIZE);
      expect(end).toBeGreaterThan(at);
      if (!data)
        expect(
          content()
            .subarray(at, end)
            .every((byte) => byte === 0),
        ).toBe(true);
      at = end;
    }
  });
});

describe('system calls through the FFI', () => {
  const syscalls = loadSyscalls({ ffi: true, log: silentLog });

  const withFile = async (action: (fd: number, filename: string) => Promise<void> | void) => {
    const disk = makeDiskFile(SIZE);
    const fd = fs.openSync(disk.filename, 'r+');
    try {
      await action(fd, disk.filename);
    } finally {
      fs.closeSync(fd);
      disk.remove();
    }
  };

  it('read what is cached', () =>
    withFile((fd) => {
      fs.writeSync(fd, Buffer.alloc(8192, 7), 0, 8192, 0);
      const buffer = Buffer.alloc(8192);
      expect(syscalls.readCached(fd, buffer.subarray(0, 4096), 4096)).toBe(4096);
      expect(buffer.equals(Buffer.concat([Buffer.alloc(4096, 7), Buffer.alloc(4096)]))).toBe(true);
    }));

  it('give a socket what a file has, and nothing of what was cut off', () =>
    withFile(async (fd) => {
      const data = randomBytes(SIZE);
      fs.writeSync(fd, data);
      const { connection, peer } = await connectionPair(undefined, 'inet');
      const socket = { descriptor: connection.descriptor, isLoopbackTcp: true };
      const give = (offset: number, length: number) =>
        syscalls.sendFile(socket, Buffer.alloc(0), fd, offset, length);
      expect(give(5001, 70_000)).toBe(70_000);
      fs.ftruncateSync(fd, 65_536 + 100);
      // Behind the end, at once and after some of the file, and in the page that the end is in.
      expect([give(131_072, 4096), give(60_000, 71_072), give(65_536, 4096)]).toEqual([0, 0, 0]);
      expect(give(65_536, 100)).toBe(100);
      const expected = Buffer.concat([data.subarray(5001, 75_001), data.subarray(65_536, 65_636)]);
      connection.end();
      expect(Buffer.concat(await peer.toArray()).equals(expected)).toBe(true);
    }));

  it('survive that a file is cut off under its map', () =>
    withFile(async (fd) => {
      const { connection } = await connectionPair(undefined, 'inet');
      const map = new FileMap(koffi.load(null), 4096);
      fs.ftruncateSync(fd, 8192);
      expect(map.sendTo(connection.descriptor, fd, 16_384, 65_536)).toBe(0);
      expect(map.sendTo(connection.descriptor, fd, 0, 65_536)).toBeLessThanOrEqual(8192);
    }));

  it('see holes and data', () =>
    withFile((fd) => {
      fs.writeSync(fd, Buffer.alloc(65_536, 7), 0, 65_536, 131_072);
      expect(syscalls.extentAt(fd, 0, SIZE)).toEqual({ data: false, end: 131_072 });
      expect(syscalls.extentAt(fd, 131_072, SIZE)).toEqual({ data: true, end: 196_608 });
      expect(syscalls.extentAt(fd, 196_608, SIZE)).toEqual({ data: false, end: SIZE });
      expect(syscalls.extentAt(fd, 140_000, 150_000)).toEqual({ data: true, end: 150_000 });
    }));

  it('punch holes and zero ranges of any alignment', () =>
    withFile(async (fd, filename) => {
      fs.writeSync(fd, Buffer.alloc(SIZE, 7), 0, SIZE, 0);
      await syscalls.punchHole(fd, 1001, 100_003);
      await syscalls.zeroRange(fd, 300_001, 100_003);
      const expected = Buffer.alloc(SIZE, 7).fill(0, 1001, 101_004).fill(0, 300_001, 400_004);
      expect(fs.readFileSync(filename).equals(expected)).toBe(true);
    }));

  it('answer every one of more calls than can wait at a time', () =>
    withFile(async (fd) => {
      const calls = Array.from({ length: 500 }, (_, index) =>
        syscalls.punchHole(index % 2 === 0 ? fd : 1_000_000, 4096 * (index % 256), 4096),
      );
      const results = await Promise.allSettled(calls);
      const failed = results.filter(({ status }) => status === 'rejected');
      expect(failed).toHaveLength(250);
      for (const failure of failed) {
        expect((failure as PromiseRejectedResult).reason).toMatchObject({ code: 'EBADF' });
      }
    }));

  it('align memory', () => {
    for (const bytes of [1, 512, 4096, 100_000, SIZE]) {
      const buffer = syscalls.alignedBuffer(bytes, 4096);
      expect(buffer).toHaveLength(bytes);
      expect(syscalls.isAligned(buffer, 4096)).toBe(true);
      expect(syscalls.isAligned(buffer.subarray(1), 4096)).toBe(false);
    }
  });
});
