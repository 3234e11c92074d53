import { describe, expect, it } from 'vitest';
import { growth } from '../../bench/soak.ts';

describe('memory under an hour of load', () => {
  const flat = Array.from({ length: 40 }, (_, index) => 100 + (index % 3));

  it('may be a little larger later', () => {
    expect(growth([...flat, 105], 150)).toEqual([]);
  });

  it('may not grow', () => {
    const growing = flat.map((mebibytes, index) => mebibytes + index);
    expect(growth(growing, 150)).toEqual([
      'memory grew: 103 MiB at the beginning, 139 MiB at the end',
    ]);
  });

  it('may not be more than is promised at any time', () => {
    expect(growth(flat, 161)).toEqual(['161 MiB of memory at most']);
  });
});
