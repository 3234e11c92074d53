import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import type { DiskRange } from '../../../src/block/node.ts';
import { MiB } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

const GRANULE = 65_536;
const SIZE = 4 * GRANULE;

/** Writes to the target wait until `release` is called. */
function holdTarget(rig: MirrorRig): { release(): void; readonly held: number } {
  const waiting: (() => void)[] = [];
  rig.target.meddle = (verb) =>
    verb === 'write' ? new Promise<void>((resolve) => waiting.push(resolve)) : undefined;
  return {
    get held() {
      return waiting.length;
    },
    release() {
      rig.target.meddle = () => {};
      for (const resolve of waiting) resolve();
    },
  };
}

describe('the length of a mirror', () => {
  it('counts copies that are on their way', async () => {
    const rig = new MirrorRig({ size: SIZE });
    await rig.source.write(0, pattern(SIZE, 1));
    const target = holdTarget(rig);
    const job = rig.mirror({ bufSize: GRANULE });
    await expect.poll(() => target.held).toBe(1);
    // The loop has looked at it once more since.
    job.kick();
    await new Promise((resolve) => setImmediate(resolve));
    expect([job.progressCurrent, job.progressTotal]).toEqual([0, SIZE]);
    // Nobody is to take for copied what may never arrive.
    expect(job.query()['x-dirty-bytes']).toBe(SIZE);
    target.release();
    await rig.ready();
    expect([job.progressCurrent, job.progressTotal]).toEqual([SIZE, SIZE]);
  });

  it('counts client writes that are on their way to both sides', async () => {
    const rig = new MirrorRig({ size: SIZE });
    const job = rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    const before = job.progressCurrent;
    const target = holdTarget(rig);
    const written = rig.client.node.write(0, pattern(GRANULE, 2));
    await expect.poll(() => target.held).toBe(1);
    expect([job.progressCurrent, job.progressTotal]).toEqual([before, before + GRANULE]);
    target.release();
    await written;
    expect([job.progressCurrent, job.progressTotal]).toEqual([before + GRANULE, before + GRANULE]);
  });
});

describe('what has been done', () => {
  it('is at most what there is to do, also while copies end in a pause', async () => {
    const rig = new MirrorRig({ size: SIZE });
    await rig.source.write(0, pattern(GRANULE, 1));
    const job = rig.mirror();
    await rig.ready();
    const target = holdTarget(rig);
    await rig.client.node.write(0, pattern(4096, 2));
    await expect.poll(() => target.held).toBe(1);
    job.pause();
    // The same granule once more: nobody looks at it before the copy has ended.
    await rig.client.node.write(0, pattern(4096, 3));
    target.release();
    await rig.event('JOB_STATUS_CHANGE', ({ data }) => data.status === 'standby');
    expect(job.progressCurrent).toBe(2 * GRANULE);
    expect(job.progressTotal).toBe(3 * GRANULE);
    await rig.jobs.cancelAll();
  });

  it('is all at READY, though a client writes while the target is flushed', async () => {
    const rig = new MirrorRig({ size: SIZE });
    await rig.source.write(0, pattern(SIZE, 1));
    const job = rig.mirror();
    let wrote = false;
    rig.target.meddle = async (verb) => {
      if (verb !== 'flush' || job.progressCurrent < SIZE) return;
      await rig.client.node.write(0, pattern(GRANULE, 2));
      wrote = true;
    };
    const { data } = await rig.ready();
    expect([wrote, data.offset, data.len]).toEqual([true, SIZE, SIZE]);
    await rig.jobs.cancelAll();
  });
});

it('a clean granule at the unaligned end costs nothing, though a cluster goes there', async () => {
  const size = SIZE + 4096;
  const rig = new MirrorRig({ size });
  await rig.source.disk.write(0, pattern(size, 1));
  rig.source.addBitmap(new DirtyBitmap({ name: 'b', size, granularity: GRANULE }));
  await rig.source.write(2 * GRANULE, pattern(GRANULE, 2));
  const job = rig.mirror({ bitmap: 'b', targetClusterSize: 2 * MiB });
  await rig.ready();
  expect([job.progressCurrent, job.progressTotal]).toEqual([GRANULE, GRANULE]);
});

it('zeroes cost nothing of the speed', async () => {
  const clock = new FakeClock();
  const size = 64 * MiB;
  const rig = new MirrorRig({ size, clock });
  const bitmap = new DirtyBitmap({ name: 'b', size, granularity: 2 * MiB });
  rig.source.addBitmap(bitmap);
  bitmap.set(0, size);
  // Time stands still, and one granule of data would take days.
  const job = rig.mirror({ bitmap: 'b', speed: 1 });
  await expect.poll(() => job.progressCurrent).toBe(size);
});

it('zeroes that the target has to be sent cost as much of the speed as data', async () => {
  const size = 64 * MiB;
  const rig = new MirrorRig({ size, clock: new FakeClock() });
  rig.target.zeroesAreCheap = false;
  const held: number[] = [];
  rig.source.meddle = (verb, { length }) => {
    if (verb === 'status') held.push(length);
  };
  const bitmap = new DirtyBitmap({ name: 'b', size, granularity: GRANULE });
  rig.source.addBitmap(bitmap);
  bitmap.set(0, size);
  // Time stands still, so there is one tenth of a second of it.
  const job = rig.mirror({ bitmap: 'b', speed: 320 * MiB });
  await expect.poll(() => job.progressCurrent).toBe(32 * MiB);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(job.progressCurrent).toBe(32 * MiB);
  expect(Math.max(...held)).toBeLessThanOrEqual(4 * MiB);
});

it('of a target that takes long to zero no more is held than it zeroes in a moment', async () => {
  const size = 512 * MiB;
  const clock = new FakeClock();
  const rig = new MirrorRig({ size, clock });
  const bitmap = new DirtyBitmap({ name: 'b', size, granularity: 2 * MiB });
  rig.source.addBitmap(bitmap);
  bitmap.set(0, size);
  const zeroed: number[] = [];
  rig.target.meddle = async (verb, { length }) => {
    if (verb !== 'zero') return;
    zeroed.push(length);
    await new Promise(setImmediate);
    clock.advance(101);
  };
  const job = rig.mirror({ bitmap: 'b' });
  await expect.poll(() => job.progressCurrent).toBe(size);
  expect(Math.max(...zeroed)).toBeLessThanOrEqual(32 * MiB);
});

it('a few bytes of data behind long runs of zeroes do not exceed the speed', async () => {
  const rig = new MirrorRig({ size: 8 * MiB, clock: new FakeClock() });
  // The target is not all zero, so zeroes are copied, in claims that become longer.
  await rig.target.write(8 * MiB - 1, Buffer.from('x'));
  const job = rig.mirror();
  await rig.ready();
  const written: DiskRange[] = [];
  rig.target.meddle = (verb, range) => {
    if (verb === 'write') written.push(range);
  };
  // Time stands still, so there is one tenth of a second of it.
  job.setSpeed(10 * 4096);
  await rig.client.node.write(4 * MiB, pattern(5 * 4096, 1));
  await expect.poll(() => written.length).toBe(1);
  expect(written).toEqual([{ offset: 4 * MiB, length: 4096 }]);
});

it('everybody else has his turn while copies never have to wait', async () => {
  const size = 16 * MiB;
  const rig = new MirrorRig({ size });
  await rig.source.disk.write(0, pattern(size, 1));
  const bitmap = new DirtyBitmap({ name: 'b', size, granularity: 4096 });
  rig.source.addBitmap(bitmap);
  for (let at = 0; at < size; at += 8192) bitmap.set(at, 4096);
  let hadTurn = false;
  rig.target.meddle = (verb) => {
    if (verb !== 'write') return;
    rig.target.meddle = () => {};
    setImmediate(() => {
      hadTurn = true;
    });
  };
  rig.mirror({ bitmap: 'b' });
  await rig.ready();
  expect(hadTurn).toBe(true);
});

it('a copy that waited for a client costs its part of the speed', async () => {
  const unit = 2 * MiB;
  const rig = new MirrorRig({ size: 2 * unit, clock: new FakeClock() });
  await rig.source.disk.write(0, pattern(2 * unit, 1));
  const bitmap = new DirtyBitmap({ name: 'b', size: 2 * unit, granularity: unit });
  rig.source.addBitmap(bitmap);
  bitmap.set(0, 2 * unit);
  // Time stands still, so there is only what is free before the first wait.
  const job = rig.mirror({ bitmap: 'b', copyMode: 'write-blocking', speed: 1 });
  const letGo: (() => void)[] = [];
  rig.source.meddle = (verb) =>
    verb === 'write' ? new Promise<void>((resolve) => letGo.push(resolve)) : undefined;
  const writes = [0, unit].map((at) => rig.client.node.write(at, pattern(512, 2)));
  await expect.poll(() => letGo.length).toBe(2);
  for (const resolve of letGo) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    resolve();
  }
  await Promise.all(writes);
  await expect.poll(() => job.progressCurrent).toBe(unit);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(job.progressCurrent).toBe(unit);
});

describe('what fails again and again, and is ignored', () => {
  /** A READY mirror whose target refuses what it is sent, and takes a moment for it. */
  async function withBadTarget() {
    const rig = new MirrorRig({ size: SIZE });
    const job = rig.mirror({ onTargetError: 'ignore' });
    await rig.ready();
    rig.target.meddle = async (verb) => {
      if (verb !== 'write') return;
      await new Promise((resolve) => setTimeout(resolve, 2));
      throw Object.assign(new Error('on fire'), { code: 'EIO' });
    };
    return { rig, job, before: job.progressCurrent };
  }

  /** It backs off, and has copied nothing; then the target is well, and it is done. */
  async function expectNoProgress({ rig, job, before }: Awaited<ReturnType<typeof withBadTarget>>) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    // 10, 20, 40, 80, 160 ms apart, two at a time.
    expect(rig.story.filter((event) => event === 'BLOCK_JOB_ERROR').length).toBeLessThan(20);
    expect(job.progressCurrent).toBe(before);
    rig.target.meddle = () => {};
    await expect.poll(() => job.query()['x-dirty-bytes']).toBe(0);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    expect(job.progressCurrent).toBeGreaterThan(before);
    expect(job.progressTotal).toBe(job.progressCurrent);
    await rig.jobs.cancelAll();
  }

  it('is no progress where two copies are parts of one granule', async () => {
    const bad = await withBadTarget();
    for (const at of [0, 8192]) await bad.rig.client.node.write(at, pattern(4096, at));
    await expectNoProgress(bad);
  });

  it('is no progress where a client writes meanwhile', async () => {
    const bad = await withBadTarget();
    const { client } = bad.rig;
    await client.node.write(0, pattern(4096, 1));
    const writing = setInterval(() => client.node.write(0, pattern(4096, 2)), 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    clearInterval(writing);
    await expectNoProgress(bad);
  });
});

it('a paused job that is cancelled by force is no longer paused', async () => {
  const rig = new MirrorRig({ size: SIZE });
  const job = rig.mirror({ autoDismiss: false });
  await rig.ready();
  job.pause();
  await rig.event('JOB_STATUS_CHANGE', ({ data }) => data.status === 'standby');
  job.cancel({ force: true });
  expect(job.userPaused).toBe(false);
  await job.ended;
  expect(job.status).toBe('concluded');
});
