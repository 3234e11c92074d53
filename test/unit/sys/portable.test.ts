import fs, { closeSync, openSync } from 'node:fs';
import { expect, it, vi } from 'vitest';
import { portableSyscalls } from '../../../src/sys/portable.ts';

it('without the FFI a lock is not granted that nobody holds', () => {
  const fd = openSync('/dev/null', 'r');
  expect(() => portableSyscalls.tryLock(fd, 'exclusive')).toThrow(
    expect.objectContaining({ code: 'ENOTSUP' }),
  );
  expect(portableSyscalls.tryLock(fd, 'none')).toBe(true);
  closeSync(fd);
});

it('a read that a signal has cut short is begun again', async () => {
  const fd = openSync(process.execPath, 'r');
  const read = vi.spyOn(fs, 'read').mockImplementationOnce(((...args: unknown[]) => {
    const callback = args.at(-1) as (error: Error, count: number) => void;
    callback(Object.assign(new Error('interrupted'), { code: 'EINTR' }), 0);
  }) as typeof fs.read);
  const buffer = Buffer.alloc(4);
  await portableSyscalls.read(fd, buffer, 0);
  expect(buffer.toString('latin1', 1)).toBe('ELF');
  expect(read).toHaveBeenCalledTimes(2);
  read.mockRestore();
  closeSync(fd);
});
