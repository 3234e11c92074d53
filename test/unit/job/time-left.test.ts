import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimeLeft } from '../../../src/job/time-left.ts';
import { MiB } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { turns } from '../../support/turns.ts';

const REACHABLE = { unreachable: undefined };

/** A job that copies as the test says, looked at ten times a second. */
function run(totalBytes = 1000 * MiB) {
  const clock = new FakeClock();
  const timeLeft = new TimeLeft(clock);
  const job = {
    status: 'running' as 'running' | 'ready',
    userPaused: false,
    progressCurrent: 0,
    progressTotal: totalBytes,
  };
  timeLeft.note(job);
  const go = (seconds: number, copied: number, dirtied = 0) => {
    for (let tenth = 0; tenth < 10 * seconds; tenth++) {
      clock.advance(100);
      job.progressCurrent += (copied * MiB) / 10;
      job.progressTotal += (dirtied * MiB) / 10;
      timeLeft.note(job);
    }
  };
  return { clock, job, timeLeft, go, left: (at = REACHABLE) => timeLeft.seconds(job, at) };
}

describe('the time that is left', () => {
  it('is told when there is some history, and goes by', () => {
    const { go, left } = run();
    expect(left()).toBeUndefined();
    go(4, 10);
    expect(left()).toBeUndefined();
    go(1, 10);
    expect(left()).toBe(95);
    go(45, 10);
    expect(left()).toBe(50);
  });

  it('counts what clients write meanwhile', () => {
    const { go, left } = run();
    go(10, 10, 5);
    expect(left()).toBe(190);
  });

  it('is not known where they write as fast, or faster', () => {
    for (const dirtied of [10, 20]) {
      const { go, left } = run();
      go(20, 10, dirtied);
      expect(left()).toBeUndefined();
    }
  });

  it('follows another speed without jumps', () => {
    const { go, left } = run();
    go(30, 10);
    let before = left()!;
    for (let second = 0; second < 45; second++) {
      go(1, 5);
      const now = left()!;
      expect(Math.abs(now - before)).toBeLessThan(10);
      before = now;
    }
    // 475 MiB of them.
    expect(before).toBeGreaterThan(85);
    expect(before).toBeLessThan(100);
  });

  it('is not known of what stands still, whoever asks', () => {
    const { clock, go, left } = run();
    go(10, 10);
    clock.advance(9000);
    expect(left()).toBeGreaterThan(90);
    clock.advance(2000);
    expect(left()).toBeUndefined();
  });

  it('is none of a job that is paused or READY, nor of a target out of reach', () => {
    const { go, job, left } = run();
    go(10, 10);
    expect(left()).toBe(90);
    expect(left({ unreachable: 'lost' } as never)).toBeUndefined();
    job.userPaused = true;
    expect(left()).toBeUndefined();
    job.userPaused = false;
    job.status = 'ready';
    expect(left()).toBeUndefined();
  });

  it('begins anew when what was is over', () => {
    const { go, timeLeft, left } = run();
    go(10, 10);
    timeLeft.forget();
    expect(left()).toBeUndefined();
    go(4, 1);
    expect(left()).toBeUndefined();
    go(2, 1);
    expect(left()).toBeGreaterThan(800);
  });

  it('is not told where it is days', () => {
    const { go, left } = run(1e9 * MiB);
    go(10, 1);
    expect(left()).toBeUndefined();
  });

  it('is a whole number of seconds, or nothing, whatever happens', () => {
    const step = fc.record({
      ms: fc.integer({ min: 0, max: 100_000 }),
      copied: fc.nat(2 ** 40),
      dirtied: fc.nat(2 ** 40),
    });
    const property = fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      const { clock, job, left } = run();
      for (const { ms, copied, dirtied } of steps) {
        clock.advance(ms);
        job.progressTotal += dirtied;
        job.progressCurrent = Math.min(job.progressTotal, job.progressCurrent + copied);
        const seconds = left() ?? 1;
        expect(Number.isInteger(seconds) && seconds > 0 && seconds <= 360_000).toBe(true);
      }
    });
    // It would be made smaller for minutes.
    fc.assert(property, { endOnFailure: true });
  });
});

it('a mirror tells it until it is READY, and not while it is paused', async () => {
  const clock = new FakeClock();
  const size = 64 * MiB;
  const rig = new MirrorRig({ size, clock });
  await rig.source.disk.write(0, pattern(size, 1));
  const job = rig.mirror({ speed: 4 * MiB });
  const left = () => job.query()['x-seconds-left'];
  const pass = async (seconds: number) => {
    for (let step = 0; step < 100 * seconds; step++) {
      await turns(5);
      clock.advance(10);
    }
    await turns(5);
  };
  await pass(4);
  expect(left()).toBeUndefined();
  await pass(4);
  const bytesPerSecond = job.progressCurrent / 8;
  const wanted = (size - job.progressCurrent) / bytesPerSecond;
  expect(left()).toBeGreaterThan(wanted - 1);
  expect(left()).toBeLessThan(wanted + 2);
  job.pause();
  expect(left()).toBeUndefined();
  await rig.event('JOB_STATUS_CHANGE', ({ data }) => data.status === 'paused');
  clock.advance(3_600_000);
  job.resume();
  await pass(1);
  // What it did not do in the pause says nothing.
  expect(left()).toBeUndefined();
  await pass(10);
  expect(job.isReady).toBe(true);
  expect(left()).toBeUndefined();
  await rig.jobs.cancelAll();
});
