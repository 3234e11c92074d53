import { describe, expect, it } from 'vitest';
import { formatBytes, formatGuess, formatSeconds, parseSize } from '../../../src/util/units.ts';

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['512', 512],
    ['64K', 65536],
    ['1.5k', 1536],
    ['2 MiB', 2 * 2 ** 20],
    ['1T', 2 ** 40],
  ])('reads %s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', '-1', '1X', '0.3', 'K', '9P9'])('refuses %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  it.each([
    [1023, '1023 B'],
    [1536, '1.50 KiB'],
    [10 * 2 ** 20, '10.0 MiB'],
    [512 * 2 ** 30, '512 GiB'],
  ])('writes %d', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it('writes guesses, rounded up', () => {
    const guesses = [1, 10, 41, 51, 61, 750, 3540, 3541, 3900, 3901];
    expect(guesses.map(formatGuess)).toEqual([
      '10s',
      '10s',
      '50s',
      '1m',
      '2m',
      '13m',
      '59m',
      '1h 0m',
      '1h 5m',
      '1h 10m',
    ]);
  });

  it('writes durations', () => {
    expect([5, 75, 3720].map(formatSeconds)).toEqual(['5s', '1m 15s', '1h 2m']);
  });
});
