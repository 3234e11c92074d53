import { beforeEach, describe, expect, it } from 'vitest';
import { Silence } from '../../../src/nbd-client/silence.ts';
import { SERVER_SILENT_MS } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('a server that has requests', () => {
  let clock: FakeClock;
  let pending: number;
  let told: boolean[];
  let silence: Silence;
  beforeEach(() => {
    clock = new FakeClock();
    pending = 0;
    told = [];
    silence = new Silence(
      clock,
      () => pending,
      (isSilent) => told.push(isSilent),
    );
  });

  const request = () => {
    pending++;
    silence.requested();
  };
  const answer = () => {
    pending--;
    silence.answered();
  };

  it('is silent when it answers none of them, until it does', () => {
    request();
    clock.advance(SERVER_SILENT_MS - 1000);
    expect([silence.ms, told]).toEqual([undefined, []]);
    clock.advance(1000);
    expect([silence.ms, told]).toEqual([SERVER_SILENT_MS, [true]]);
    clock.advance(5000);
    expect(silence.ms).toBe(SERVER_SILENT_MS + 5000);
    answer();
    expect([silence.ms, told]).toEqual([undefined, [true, false]]);
  });

  it('is not silent while it answers some of them', () => {
    request();
    for (let seconds = 0; seconds < 60; seconds++) {
      request();
      clock.advance(1000);
      answer();
    }
    expect(told).toEqual([]);
    clock.advance(SERVER_SILENT_MS + 1000);
    expect(told).toEqual([true]);
  });

  it('is not waited for when it has none, and then counts anew', () => {
    request();
    answer();
    clock.advance(2000);
    expect(clock.timers).toBe(0);
    clock.advance(60_000);
    request();
    clock.advance(SERVER_SILENT_MS - 1000);
    expect(told).toEqual([]);
    clock.advance(1000);
    expect(told).toEqual([true]);
  });

  it('is forgotten when the connection has ended', () => {
    request();
    clock.advance(SERVER_SILENT_MS);
    silence.stop();
    expect([silence.ms, clock.timers]).toEqual([undefined, 0]);
  });
});
