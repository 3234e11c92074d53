import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../../src/util/assert.ts';
import { asBlockError, BlockError, strerror } from '../../../src/util/errors.ts';

describe('asBlockError', () => {
  const coded = (code: unknown) => Object.assign(new Error('why'), { code });

  it.each([
    ['EIO', 'EIO'],
    ['EDQUOT', 'ENOSPC'],
    ['EFBIG', 'ENOSPC'],
    ['EROFS', 'EPERM'],
    ['EACCES', 'EPERM'],
    ['EOPNOTSUPP', 'ENOTSUP'],
    ['ENOTSUP', 'ENOTSUP'],
    ['ENOMEM', 'ENOMEM'],
    ['ECONNRESET', 'EIO'],
    ['toString', 'EIO'],
    [undefined, 'EIO'],
    [7, 'EIO'],
  ])('answers %s with %s', (code, expected) => {
    expect(asBlockError(coded(code), 'Cannot do it').code).toBe(expected);
  });

  it('says what was being done and why it failed', () => {
    const error = asBlockError(coded('EIO'), 'Cannot read 512 bytes at 0 on node "disk0"');
    expect(error.message).toBe('Cannot read 512 bytes at 0 on node "disk0": why');
    expect((error.cause as Error).message).toBe('why');
  });

  it('does not take a mistake of our own for an error of a disk', () => {
    const mistake = new AssertionError('one is two');
    expect(() => asBlockError(mistake, 'Cannot do it')).toThrow(mistake);
  });

  it('leaves a BlockError as it is', () => {
    const error = new BlockError('ENOSPC', 'full');
    expect(asBlockError(error, 'Cannot write')).toBe(error);
  });

  it('takes anything that was thrown', () => {
    expect(asBlockError('a string', 'Cannot read').message).toBe('Cannot read: a string');
  });
});

it('strerror says what QMP says', () => {
  expect(strerror('EIO')).toBe('Input/output error');
  expect(strerror('ENOSPC')).toBe('No space left on device');
});
