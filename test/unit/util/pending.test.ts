import { describe, expect, it } from 'vitest';
import { Pending, watch } from '../../../src/util/pending.ts';

/** Ends of work, as somebody was told of them. */
function teller() {
  const told: string[] = [];
  const watcher = (name: string) => ({
    onEnd: (failure: unknown) => told.push(failure === undefined ? name : `${name}: ${failure}`),
  });
  return { told, watcher };
}

describe('work that has not ended', () => {
  it('tells of success at once, everybody in the order in which they came', () => {
    const [work, { told, watcher }] = [new Pending(), teller()];
    for (const name of ['first', 'second', 'third']) work.watch(watcher(name));
    expect(told).toEqual([]);
    work.succeed();
    expect(told).toEqual(['first', 'second', 'third']);
  });

  it('tells of a failure soon, but not in the middle of what has found it', async () => {
    const [work, { told, watcher }] = [new Pending(), teller()];
    work.watch(watcher('first'));
    work.fail('lost');
    work.watch(watcher('second'));
    expect(told).toEqual([]);
    await Promise.resolve();
    expect(told).toEqual(['first: lost', 'second: lost']);
  });

  it('tells who comes too late what has become of it', async () => {
    const { told, watcher } = teller();
    const [good, bad] = [new Pending(), new Pending()];
    good.succeed();
    bad.watch(watcher('in time'));
    bad.fail('lost');
    await Promise.resolve();
    good.watch(watcher('late'));
    bad.watch(watcher('late'));
    expect(told).toEqual(['in time: lost', 'late', 'late: lost']);
  });

  it('ends once', () => {
    const work = new Pending();
    work.succeed();
    expect(() => work.succeed()).toThrow('work ends once');
  });

  it('is awaited as a promise is', async () => {
    const [good, bad] = [new Pending(), new Pending()];
    const ended: string[] = [];
    const both = Promise.allSettled([
      good.finally(() => ended.push('good')),
      bad.catch((reason: unknown) => ended.push(`bad: ${reason}`)),
    ]);
    const awaited = (async () => await good)();
    const failed = expect((async () => await bad)()).rejects.toBe('lost');
    good.succeed();
    bad.fail('lost');
    expect(await awaited).toBeUndefined();
    await failed;
    await both;
    expect(ended.sort()).toEqual(['bad: lost', 'good']);
    await good;
    await expect(bad).rejects.toBe('lost');
  });

  it('is seen to fail by nobody only if nobody comes', async () => {
    const unseen: unknown[] = [];
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', (reason) => unseen.push(reason));
    const [watched, awaited, forgotten] = [new Pending(), new Pending(), new Pending()];
    for (const work of [watched, awaited, forgotten]) work.fail(new Error('lost'));
    queueMicrotask(() => watched.watch({ onEnd() {} }));
    await expect((async () => await awaited)()).rejects.toThrow('lost');
    await new Promise(setImmediate);
    process.removeAllListeners('unhandledRejection');
    for (const listener of listeners) process.on('unhandledRejection', listener);
    expect(unseen).toEqual([new Error('lost')]);
  });
});

it('whoever watches need not know whether it is a promise', async () => {
  const { told, watcher } = teller();
  const work = new Pending();
  watch(work, watcher('work'));
  watch(Promise.resolve(), watcher('promise'));
  watch(Promise.reject('no'), watcher('promise'));
  expect(told).toEqual([]);
  work.succeed();
  expect(told).toEqual(['work']);
  await new Promise(setImmediate);
  expect(told).toEqual(['work', 'promise', 'promise: no']);
});
