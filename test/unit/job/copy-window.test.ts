import { beforeEach, describe, expect, it } from 'vitest';
import { CopyWindow } from '../../../src/job/copy-window.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { pause } from '../../support/process.ts';
import { InFlight } from '../../support/shaky-node.ts';

const MiB = 1 << 20;

/** A link that carries so many bytes a millisecond, one way in so many milliseconds. */
function runLink(
  clock: FakeClock,
  window: CopyWindow,
  link: { bytesPerMs: number; delayMs: number; forMs: number; isAlone?: boolean },
): void {
  const end = clock.now() + link.forMs;
  const pieces: { sent: number; arrives: number }[] = [];
  let wireFree = clock.now();
  while (clock.now() < end) {
    while ((pieces.length + 1) * MiB <= window.bytesFor(link.isAlone ?? false)) {
      wireFree = Math.max(wireFree, clock.now()) + MiB / link.bytesPerMs;
      pieces.push({ sent: window.sent(MiB), arrives: wireFree + link.delayMs });
    }
    const { sent, arrives } = pieces.shift()!;
    clock.advance(arrives - clock.now());
    window.taken(MiB, sent);
  }
  for (; pieces.length > 0; pieces.pop()) window.lost(MiB);
}

describe('the window of copies', () => {
  let clock: FakeClock;
  let window: CopyWindow;
  beforeEach(() => {
    clock = new FakeClock();
    window = new CopyWindow(clock, { bytesMin: 8 * MiB, bytesMax: 64 * MiB });
  });

  it('stays small on a short link, however long its queue', () => {
    runLink(clock, window, { bytesPerMs: 1.5 * MiB, delayMs: 0.5, forMs: 2000 });
    expect(window.bytes).toBe(8 * MiB);
    runLink(clock, window, { bytesPerMs: 0.01 * MiB, delayMs: 0.5, forMs: 60_000 });
    expect(window.bytes).toBeLessThanOrEqual(16 * MiB);
  });

  it('has more in it on a short link where copies are alone, but does not grow by that', () => {
    // Several times the route is forgotten and found again meanwhile.
    runLink(clock, window, { bytesPerMs: 0.16 * MiB, delayMs: 0.5, isAlone: true, forMs: 55_000 });
    expect(window.bytes).toBeLessThanOrEqual(16 * MiB);
    expect(window.bytesFor(true)).toBe(16 * MiB);
  });

  it('grows until a long link is full', () => {
    runLink(clock, window, { bytesPerMs: 0.25 * MiB, delayMs: 100, forMs: 2000 });
    // 25 MiB are on the way; twice that, and the piece itself, keep the link busy.
    expect(window.bytes).toBeGreaterThan(25 * MiB);
    runLink(clock, window, { bytesPerMs: MiB, delayMs: 100, forMs: 2000 });
    expect(window.bytes).toBe(64 * MiB);
  });

  it('is open after two round trips of a long link', () => {
    runLink(clock, window, { bytesPerMs: 2 * MiB, delayMs: 50, forMs: 60 });
    expect(window.bytes).toBeGreaterThanOrEqual(28 * MiB);
    runLink(clock, window, { bytesPerMs: 2 * MiB, delayMs: 50, forMs: 60 });
    expect(window.bytes).toBe(64 * MiB);
  });

  it('stays small on a short link whose answers come together', () => {
    for (let at = 0; at < 100; at++) {
      const sent: number[] = [];
      while ((sent.length + 1) * MiB <= window.bytes) {
        sent.push(window.sent(MiB));
        clock.advance(0.1);
      }
      clock.advance(1);
      for (const sentAt of sent) window.taken(MiB, sentAt);
      expect(window.bytes).toBe(8 * MiB);
      clock.advance(10);
    }
  });

  it('does not open for a source that has no more to send', () => {
    for (let at = 0; at < 100; at++) {
      const sent = [window.sent(MiB), window.sent(MiB)];
      clock.advance(50);
      for (const sentAt of sent) window.taken(MiB, sentAt);
    }
    expect(window.bytes).toBe(8 * MiB);
  });

  it('shrinks when the route becomes short', () => {
    runLink(clock, window, { bytesPerMs: MiB, delayMs: 100, forMs: 2000 });
    runLink(clock, window, { bytesPerMs: MiB, delayMs: 0.5, forMs: 2000 });
    expect(window.bytes).toBeLessThanOrEqual(16 * MiB);
  });

  it('forgets how short the route once was', () => {
    runLink(clock, window, { bytesPerMs: MiB, delayMs: 0.5, forMs: 2000 });
    runLink(clock, window, { bytesPerMs: MiB, delayMs: 100, forMs: 30_000 });
    expect(window.bytes).toBe(64 * MiB);
  });
});

it('a mirror has more in flight while no client writes', async () => {
  const clock = new FakeClock();
  const rig = new MirrorRig({ size: 64 * MiB, clock });
  for (let at = 0; at < 64 * MiB; at += MiB) await rig.source.write(at, pattern(MiB, 1));
  // One after the other, as on a link; and later only when all of them may.
  let last = Promise.resolve();
  const inFlight = new InFlight(rig.target, () => {
    last = last.then(() => pause(1));
    return last;
  });
  const job = rig.mirror();
  await rig.ready();
  expect(inFlight.most).toBeGreaterThan(8 * MiB);
  expect(inFlight.most).toBeLessThanOrEqual(16 * MiB);
  inFlight.most = 0;
  let open = () => {};
  last = new Promise((resolve) => {
    open = resolve;
  });
  await rig.client.node.write(0, pattern(32 * MiB, 2));
  for (let bursts = 0; bursts < 10; bursts++) {
    // The rest that copies take; not as long as clients are missed.
    clock.advance(2);
    await pause(5);
    await rig.client.node.write(0, pattern(4096, bursts));
  }
  expect(inFlight.most).toBe(8 * MiB);
  open();
  clock.advance(2000);
  job.cancel({ force: false });
  await job.ended;
  expect(await areEqual(rig.source, rig.target)).toBe(true);
});

it('a mirror has no more in flight while a client waits', async () => {
  const rig = new MirrorRig({ size: 64 * MiB, clock: new FakeClock() });
  for (let at = 0; at < 64 * MiB; at += MiB) await rig.source.write(at, pattern(MiB, 1));
  let written: Promise<void> | undefined;
  let go = () => {};
  const slow = new Promise<void>((resolve) => {
    go = resolve;
  });
  let last = Promise.resolve();
  const inFlight = new InFlight(rig.target, () => {
    written ??= Promise.resolve(rig.client.node.write(63 * MiB, pattern(4096, 2)));
    last = last.then(() => pause(1));
    return last;
  });
  rig.source.meddle = (verb) => (verb === 'write' ? slow : undefined);
  rig.mirror();
  await rig.ready();
  expect(inFlight.most).toBe(8 * MiB);
  go();
  await written;
});

it('copies begin in bursts of 8 MiB, of 4 beside a client, one soon after the other', async () => {
  const clock = new FakeClock();
  const rig = new MirrorRig({ size: 64 * MiB, clock });
  for (let at = 0; at < 64 * MiB; at += MiB) await rig.source.write(at, pattern(MiB, 1));
  let begun = 0;
  const all = new Promise<void>((resolve) => {
    rig.target.meddle = (verb) => {
      if (verb !== 'write') return;
      if (++begun === 64) resolve();
      // The next ones do not wait for these to end.
      return all;
    };
  });
  rig.mirror({ bufSize: 64 * MiB });
  const begunAfter = async (ms: number) => {
    clock.advance(ms);
    await pause(20);
    return begun;
  };
  for (const mebibytes of [8, 16, 24]) expect(await begunAfter(1)).toBe(mebibytes);
  await rig.client.node.write(0, pattern(4096, 2));
  for (const mebibytes of [28, 32, 36]) expect(await begunAfter(2)).toBe(mebibytes);
  await begunAfter(100);
  while (begun < 64) await begunAfter(1);
  await rig.ready();
});

it('as many claims of zeroes are on their way as pieces of data would be', async () => {
  const size = 64 * 1024 * MiB;
  const rig = new MirrorRig({ size });
  let inFlight = 0;
  let most = 0;
  rig.target.meddle = async (verb) => {
    if (verb !== 'zero') return;
    most = Math.max(most, ++inFlight);
    await pause(1);
    inFlight--;
  };
  rig.bitmap('b', [[0, size]]);
  rig.mirror({ bitmap: 'b' });
  await rig.ready();
  expect(most).toBeGreaterThanOrEqual(8);
});

describe('a mirror to a target that is far away', () => {
  /** The most bytes of data that were on their way to a target that answers after 30 ms. */
  async function mostInFlight(bufSize?: number): Promise<number> {
    const rig = new MirrorRig({ size: 256 * MiB });
    for (let at = 0; at < 256 * MiB; at += MiB) await rig.source.write(at, pattern(MiB, 1));
    const inFlight = new InFlight(rig.target, () => pause(30));
    const job = rig.mirror(bufSize === undefined ? {} : { bufSize });
    await rig.ready();
    job.cancel({ force: false });
    await job.ended;
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    return inFlight.most;
  }

  it('has more in flight than to a near one', async () => {
    const most = await mostInFlight();
    expect(most).toBeGreaterThan(16 * MiB);
    expect(most).toBeLessThanOrEqual(64 * MiB);
  });

  it('has no more in flight than its buffer, where one was asked for', async () => {
    expect(await mostInFlight(4 * MiB)).toBeLessThanOrEqual(4 * MiB);
  });
});
