import { describe, expect, it } from 'vitest';
import { Unflushed } from '../../../src/bitmap/unflushed.ts';

const make = () => new Unflushed({ size: 1 << 20, granularity: 65536 });
const offsets = (unflushed: Unflushed) => [...unflushed.takeAll()].map((run) => run.offset);

describe('Unflushed', () => {
  it('forgets what a flush that succeeded covers', () => {
    const unflushed = make();
    unflushed.add(0, 10);
    unflushed.beginFlush()(true);
    expect(offsets(unflushed)).toEqual([]);
  });

  it('keeps what was written while the flush ran', () => {
    const unflushed = make();
    unflushed.add(0, 10);
    const end = unflushed.beginFlush();
    unflushed.add(131072, 10);
    end(true);
    expect(offsets(unflushed)).toEqual([131072]);
  });

  it('keeps everything when the flush fails', () => {
    const unflushed = make();
    unflushed.add(0, 10);
    const end = unflushed.beginFlush();
    unflushed.add(131072, 10);
    end(false);
    expect(offsets(unflushed)).toEqual([0, 131072]);
  });

  it('does not let a second flush answer for the first', () => {
    const unflushed = make();
    unflushed.add(0, 10);
    const first = unflushed.beginFlush();
    unflushed.add(131072, 10);
    unflushed.beginFlush()(true);
    first(false);
    expect(offsets(unflushed)).toEqual([0, 131072]);
  });

  it('hands out what a running flush carries, too', () => {
    const unflushed = make();
    unflushed.add(0, 10);
    unflushed.beginFlush();
    expect(offsets(unflushed)).toEqual([0]);
    expect(offsets(unflushed)).toEqual([]);
  });
});
