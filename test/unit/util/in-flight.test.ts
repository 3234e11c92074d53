import { beforeEach, describe, expect, it } from 'vitest';
import { InFlight } from '../../../src/util/in-flight.ts';
import { isDone } from '../../support/is-done.ts';

describe('work in flight', () => {
  let work: InFlight;
  beforeEach(() => {
    work = new InFlight();
  });

  it('is settled while there is none', async () => {
    expect(await isDone(work.settled())).toBe(true);
    work.begin().end();
    expect(await isDone(work.settled())).toBe(true);
  });

  it('is waited for until all of it has ended', async () => {
    const [first, second] = [work.begin(), work.begin()];
    const settled = work.settled();
    second.end();
    expect(await isDone(settled)).toBe(false);
    first.end();
    expect(await isDone(settled)).toBe(true);
  });

  it('is not waited for if it begins later', async () => {
    const early = work.begin();
    const settled = work.settled();
    const late = work.begin();
    early.end();
    expect(await isDone(settled)).toBe(true);
    const settledLater = work.settled();
    expect(await isDone(settledLater)).toBe(false);
    late.end();
    expect(await isDone(settledLater)).toBe(true);
  });

  it('is waited for by everybody who asks while it lasts', async () => {
    const early = work.begin();
    const [first, second] = [work.settled(), work.settled()];
    const late = work.begin();
    const third = work.settled();
    late.end();
    expect(await Promise.all([first, second, third].map(isDone))).toEqual([false, false, false]);
    early.end();
    expect(await Promise.all([first, second, third].map(isDone))).toEqual([true, true, true]);
  });
});
