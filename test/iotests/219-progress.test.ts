import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { contents, pattern } from '../support/mirror-rig.ts';
import { pause } from '../support/process.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/**
 * iotest 219: pause and resume of the two families mixed, with the progress in between. At 256 KiB
 * a second a mirror makes four granules a second. (We send a granule in smaller pieces than QEMU's
 * one, so that the speed is even; progress is told in granules all the same.)
 */
const SPEED = 4 * GRANULE;
const PAUSES = [
  ['job-pause', { id: 'm0' }],
  ['block-job-pause', { device: 'm0' }],
] as const;
const RESUMES = [
  ['job-resume', { id: 'm0' }],
  ['block-job-resume', { device: 'm0' }],
] as const;
const MIXES = PAUSES.flatMap((pausing) => RESUMES.map((resuming) => ({ pausing, resuming })));

async function query(rig: QmpMirrorRig) {
  const [[job], [blockJob]] = await Promise.all([
    rig.call('query-jobs'),
    rig.call('query-block-jobs'),
  ]);
  // Both queries tell of the same job.
  expect(job).toMatchObject({
    id: 'm0',
    type: 'mirror',
    status: blockJob!.status,
    'current-progress': blockJob!.offset,
    'total-progress': blockJob!.len,
  });
  return blockJob!;
}

it('in RUNNING: each resume lets exactly the next granules through', async () => {
  const rig = new QmpMirrorRig({ size: 4 * MiB });
  await rig.source.write(0, pattern(4 * MiB, 1));
  await rig.mirror({ speed: SPEED, 'buf-size': GRANULE });
  let reached = 0;
  for (const { pausing, resuming } of MIXES) {
    await expect.poll(async () => (await query(rig)).offset).toBeGreaterThan(reached);
    const from = rig.story.length;
    await rig.call(...(pausing as (typeof PAUSES)[0]));
    await rig.status('paused', from);
    const { offset, len, paused } = await query(rig);
    expect(paused).toBe(true);
    expect(offset % GRANULE).toBe(0);
    expect(len).toBe(4 * MiB);
    await pause(300);
    expect((await query(rig)).offset).toBe(offset);
    await rig.call(...(resuming as (typeof RESUMES)[0]));
    await rig.status('running', from);
    expect(rig.story.slice(from)).toEqual(['S:paused', 'S:running']);
    // The wait has not saved up speed: no more than what one slice may send goes out at once.
    expect((await query(rig)).offset).toBeLessThanOrEqual(offset + GRANULE);
    reached = offset;
  }
});

it('in READY: nothing is copied while it stands by, all of it afterwards', async () => {
  const rig = new QmpMirrorRig({ size: MiB });
  await rig.source.write(0, pattern(MiB, 1));
  await rig.mirror({ 'buf-size': GRANULE });
  await rig.told('BLOCK_JOB_READY');
  let total = MiB;
  for (const { pausing, resuming } of MIXES) {
    const from = rig.story.length;
    await rig.call(...(pausing as (typeof PAUSES)[0]));
    await rig.status('standby', from);
    const before = await contents(rig.target.disk);
    await rig.client.node.write(GRANULE, pattern(2 * GRANULE, total));
    await pause(150);
    expect(await query(rig)).toMatchObject({ ready: true, offset: total });
    expect((await contents(rig.target.disk)).equals(before)).toBe(true);
    await rig.call(...(resuming as (typeof RESUMES)[0]));
    total += 2 * GRANULE;
    await expect.poll(async () => (await query(rig)).offset).toBe(total);
    expect((await query(rig)).len).toBe(total);
    expect(rig.story.slice(from)).toEqual(['S:standby', 'S:ready']);
  }
  expect((await contents(rig.target.disk)).equals(await contents(rig.source.disk))).toBe(true);
});
