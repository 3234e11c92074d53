import { closeSync, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { portableSyscalls } from '../../../src/sys/portable.ts';

it('without the FFI a lock is not granted that nobody holds', () => {
  const fd = openSync('/dev/null', 'r');
  expect(() => portableSyscalls.tryLock(fd, 'exclusive')).toThrow(
    expect.objectContaining({ code: 'ENOTSUP' }),
  );
  expect(portableSyscalls.tryLock(fd, 'none')).toBe(true);
  closeSync(fd);
});
