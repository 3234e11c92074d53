import { beforeEach, describe, expect, it } from 'vitest';
import { sleep, systemClock, within } from '../../../src/util/clock.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Milliseconds in which this thread had nothing to do meanwhile. */
async function idleDuring(work: () => void | Promise<void>): Promise<number> {
  const before = systemClock.idleMs();
  await work();
  return systemClock.idleMs() - before;
}

/** Behind what was deferred by now. */
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

describe('system clock', () => {
  it('never goes back', () => {
    const times = Array.from({ length: 1000 }, () => systemClock.now());
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('says the time of day in microseconds', () => {
    const now = systemClock.wallMicroseconds();
    expect(Number.isInteger(now)).toBe(true);
    const year = new Date(now / 1000).getUTCFullYear();
    expect(year).toBe(new Date().getUTCFullYear());
  });

  it('tells time in which there was nothing to do from time in which there was', async () => {
    const ofWork = await idleDuring(() => {
      const end = systemClock.now() + 100;
      while (systemClock.now() < end);
    });
    const ofSleep = await idleDuring(() => sleep(systemClock, 100));
    expect(ofWork).toBeLessThan(50);
    expect(ofSleep).toBeGreaterThan(50);
  });

  it('sleeps for no less than it is told', async () => {
    const start = systemClock.now();
    await sleep(systemClock, 20);
    // Timers count whole milliseconds.
    expect(systemClock.now() - start).toBeGreaterThanOrEqual(19);
  });

  it('waits longer than a timer of the process can count', async () => {
    let called = false;
    const timer = systemClock.after(2 ** 40, () => {
      called = true;
    });
    await sleep(systemClock, 10);
    timer.cancel();
    expect(called).toBe(false);
  });

  it('does not call what was cancelled', async () => {
    let called = false;
    const call = () => {
      called = true;
    };
    systemClock.after(1, call).cancel();
    systemClock.defer(call).cancel();
    await sleep(systemClock, 10);
    expect(called).toBe(false);
  });

  it('knows whether something deferred has still to run', async () => {
    expect(systemClock.hasDeferred()).toBe(false);
    const cancelled = systemClock.defer(() => {});
    cancelled.cancel();
    cancelled.cancel();
    expect(systemClock.hasDeferred()).toBe(false);
    const within = new Promise<boolean>((resolve) => {
      systemClock.defer(() => resolve(systemClock.hasDeferred()));
    });
    expect(systemClock.hasDeferred()).toBe(true);
    expect(await within).toBe(false);
  });

  it('counts what runs together as deferred until all of it has run', async () => {
    const seen: boolean[] = [];
    for (let i = 0; i < 2; i++) systemClock.defer(() => seen.push(systemClock.hasDeferred()));
    await nextTurn();
    expect(seen).toEqual([true, true]);
    expect(systemClock.hasDeferred()).toBe(false);
  });
});

describe('what was done in place of the event loop', () => {
  it('counts as deferred while others of its kind run', async () => {
    const seen: boolean[] = [];
    const look = () => seen.push(systemClock.hasDeferred());
    await new Promise<void>((resolve) => {
      systemClock.settle(look);
      systemClock.settle(() => {
        look();
        resolve();
      });
      expect(systemClock.hasDeferred()).toBe(true);
    });
    expect(seen).toEqual([true, false]);
  });

  it('has more effects to come when something deferred has run just before', async () => {
    const seen: boolean[] = [];
    await new Promise<void>((resolve) => {
      systemClock.settle(() => {
        seen.push(systemClock.hasDeferred());
        resolve();
      });
      systemClock.defer(() => {});
    });
    expect(seen).toEqual([true]);
    expect(systemClock.hasDeferred()).toBe(false);
  });

  it('has had its effects before anything else is done', async () => {
    const log: string[] = [];
    const effects = () => {
      systemClock.settle(() => log.push('settled'));
      const reacts = Promise.resolve().then(() => {
        systemClock.defer(() => {
          log.push('deferred');
          systemClock.defer(() => log.push('deferred by that'));
        });
      });
      void reacts
        .then(() => {})
        .then(() => {
          log.push('reaction');
          process.nextTick(() => log.push('its tick'));
        });
    };
    await new Promise<void>((resolve) => {
      setImmediate(effects);
      setImmediate(() => {
        log.push('event loop');
        resolve();
      });
    });
    expect(log).toEqual(['reaction', 'its tick', 'deferred', 'settled', 'event loop']);
    await nextTurn();
    expect(log.slice(5)).toEqual(['deferred by that']);
    expect(systemClock.hasDeferred()).toBe(false);
  });
});

/** Resolves with the next error that nobody catches. */
function uncaught(): Promise<unknown> {
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  return new Promise((resolve) => {
    process.once('uncaughtException', (error) => {
      for (const listener of listeners) process.on('uncaughtException', listener);
      resolve(error);
    });
  });
}

describe('when something deferred throws', () => {
  const log: string[] = [];
  beforeEach(() => {
    log.length = 0;
    systemClock.defer(() => log.push('first'));
    systemClock.defer(() => {
      throw new Error('thrown');
    });
    systemClock.defer(() => log.push('last'));
  });

  it('the others have their turn', async () => {
    expect(await uncaught()).toMatchObject({ message: 'thrown' });
    await nextTurn();
    expect(log).toEqual(['first', 'last']);
  });

  it('whoever stands in for the event loop goes on', async () => {
    systemClock.settle(() => log.push('settled'));
    expect(await uncaught()).toMatchObject({ message: 'thrown' });
    await nextTurn();
    expect(log).toEqual(['first', 'settled', 'last']);
  });
});

describe('waiting for something within a time', () => {
  it.each(['resolves', 'rejects'])('ends when it %s, and leaves no timer behind', async (how) => {
    const clock = new FakeClock();
    const done = how === 'resolves' ? Promise.resolve() : Promise.reject(new Error('no'));
    await within(clock, 1000, done);
    expect(clock.timers).toBe(0);
  });

  it('ends with the time', async () => {
    const clock = new FakeClock();
    const over = within(clock, 1000, new Promise(() => {}));
    clock.advance(1000);
    await over;
    expect(clock.timers).toBe(0);
  });
});

it('a sleep ends with its signal', async () => {
  const clock = new FakeClock();
  const nobodyWaits = new AbortController();
  const slept = sleep(clock, 1000, nobodyWaits.signal);
  nobodyWaits.abort();
  await slept;
  await sleep(clock, 1000, nobodyWaits.signal);
  expect(clock.timers).toBe(0);
});
