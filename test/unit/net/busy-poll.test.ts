import { beforeEach, describe, expect, it } from 'vitest';
import { BusyPoll } from '../../../src/net/busy-poll.ts';
import type { Clock } from '../../../src/util/clock.ts';
import { BUSY_POLL_MISSES_MAX, BUSY_POLL_MS } from '../../../src/util/limits.ts';

/** An event loop whose turns take a tenth of a poll. */
class Loop implements Pick<Clock, 'now' | 'defer'> {
  turns = 0;
  #now = 0;
  #deferred: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  defer(callback: () => void): { cancel(): void } {
    this.#deferred.push(callback);
    return { cancel() {} };
  }

  /** True while the loop would not go to sleep. */
  get awake(): boolean {
    return this.#deferred.length > 0;
  }

  turn(): void {
    this.turns++;
    this.#now += BUSY_POLL_MS / 10;
    for (const callback of this.#deferred.splice(0)) callback();
  }

  untilAsleep(): void {
    while (this.awake) this.turn();
  }
}

describe('a busy poll', () => {
  let loop: Loop;
  let poll: BusyPoll;
  beforeEach(() => {
    loop = new Loop();
    poll = new BusyPoll(loop as unknown as Clock);
  });
  /** Whether an arrival in vain keeps the loop awake. */
  const pollsAfterArrival = (): boolean => {
    poll.arrived();
    const { awake } = loop;
    loop.untilAsleep();
    return awake;
  };

  it('keeps the loop awake for a while, and for as long again after each arrival', () => {
    poll.arrived();
    for (let turn = 0; turn < 8; turn++) loop.turn();
    poll.arrived();
    for (let turn = 0; turn < 8; turn++) loop.turn();
    expect(loop.awake).toBe(true);
    loop.untilAsleep();
    expect(loop.turns).toBeLessThan(20);
  });

  it('has one turn at a time however much arrives', () => {
    for (let arrival = 0; arrival < 100; arrival++) poll.arrived();
    loop.untilAsleep();
    expect(loop.turns).toBeLessThan(12);
  });

  it('becomes rare while nothing follows what arrives', () => {
    const polls = Array.from({ length: 2000 }, pollsAfterArrival).filter(Boolean).length;
    expect(polls).toBeGreaterThan(20);
    expect(polls).toBeLessThan(2000 / BUSY_POLL_MISSES_MAX + 10);
  });

  it('is back at once when something has followed', () => {
    for (let arrival = 0; arrival < 2000; arrival++) pollsAfterArrival();
    while (!loop.awake) poll.arrived();
    poll.arrived();
    loop.untilAsleep();
    expect(pollsAfterArrival()).toBe(true);
  });
});
