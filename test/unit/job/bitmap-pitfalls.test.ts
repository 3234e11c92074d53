import { describe, expect, it, vi } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { BitmapPitfalls } from '../../../src/job/bitmap-pitfalls.ts';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import type { MirrorOptions } from '../../../src/job/start-mirror.ts';
import { silentLog } from '../../../src/util/log.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';

const SIZE = 1 << 20;
const HOLE = /^The target is not fully allocated \(a hole at 65536\): .*x-target-cluster-size$/;
const PREFERRED = /^The target prefers blocks of 131072 bytes, and copies may be 65536: /;
const MODE = /^Client writes go to the target as they are \(write-blocking\)/;

/** A target with this much allocated from its beginning on. */
async function makeRig(allocatedBytes: number): Promise<MirrorRig> {
  const rig = new MirrorRig({ size: SIZE });
  await rig.target.disk.write(0, pattern(allocatedBytes, 1));
  return rig;
}

async function warningsOf(rig: MirrorRig, options: Partial<MirrorOptions>): Promise<MirrorJob> {
  if (options.bitmap !== undefined) rig.bitmap('b');
  const job = rig.mirror(options);
  await rig.ready();
  return job;
}

describe('a job warns of', () => {
  it('a target that is not fully allocated', async () => {
    const job = await warningsOf(await makeRig(65_536), { bitmap: 'b' });
    await expect.poll(() => job.query()['x-warnings']).toEqual([expect.stringMatching(HOLE)]);
  });

  it('blocks of the target that are larger than granules', async () => {
    const rig = await makeRig(SIZE);
    const limits = { ...rig.target.disk.limits, preferredBytes: 131_072 };
    vi.spyOn(rig.target, 'limits', 'get').mockReturnValue(limits);
    const job = await warningsOf(rig, { bitmap: 'b' });
    expect(job.query()['x-warnings']).toEqual([expect.stringMatching(PREFERRED)]);
  });

  it('clusters that are told to be smaller than blocks of the target', async () => {
    const rig = await makeRig(SIZE);
    const limits = { ...rig.target.disk.limits, preferredBytes: 131_072 };
    vi.spyOn(rig.target, 'limits', 'get').mockReturnValue(limits);
    const job = await warningsOf(rig, { bitmap: 'b', targetClusterSize: 65_536 });
    expect(job.query()['x-warnings']).toEqual([expect.stringMatching(PREFERRED)]);
  });

  it('write-blocking, from the start or from a change on', async () => {
    const first = await warningsOf(await makeRig(SIZE), {
      bitmap: 'b',
      copyMode: 'write-blocking',
    });
    expect(first.query()['x-warnings']).toEqual([expect.stringMatching(MODE)]);
    const later = await warningsOf(await makeRig(SIZE), { bitmap: 'b' });
    expect(later.query()['x-warnings']).toEqual([]);
    later.changeCopyMode('write-blocking');
    expect(later.query()['x-warnings']).toEqual([expect.stringMatching(MODE)]);
  });

  it.each<[string, Partial<MirrorOptions>]>([
    ['a bitmap of its own', {}],
    ['the size of clusters', { bitmap: 'b', targetClusterSize: 131_072 }],
  ])('nothing with %s', async (_what, options) => {
    const rig = await makeRig(0);
    const limits = { ...rig.target.disk.limits, preferredBytes: 131_072 };
    vi.spyOn(rig.target, 'limits', 'get').mockReturnValue(limits);
    const job = await warningsOf(rig, { ...options, copyMode: 'write-blocking' });
    job.cancel({ force: false });
    await job.ended;
    expect(job.query()['x-warnings']).toEqual([]);
  });
});

describe('the look at the target’s allocation', () => {
  it('neither delays nor fails the job', async () => {
    for (const answer of [new Promise<void>(() => {}), Promise.reject(new Error('no answer'))]) {
      answer.catch(() => {});
      const rig = await makeRig(0);
      rig.target.meddle = (verb) => (verb === 'status' ? answer : undefined);
      const job = await warningsOf(rig, { bitmap: 'b' });
      job.cancel({ force: false });
      await job.ended;
      expect(job.error).toBeUndefined();
      expect(job.query()['x-warnings']).toEqual([]);
    }
  });

  it('asks a few times only, and never after the end', async () => {
    const rig = await makeRig(SIZE);
    const asked = vi.spyOn(rig.target, 'blockStatus');
    asked.mockImplementation(async (offset) => [{ offset, length: 512, hole: false, zero: false }]);
    await warningsOf(rig, { bitmap: 'b' });
    await expect.poll(() => asked.mock.calls.length).toBe(16);
    await new Promise((resolve) => setImmediate(resolve));
    expect(asked.mock.calls.length).toBe(16);

    const ended = await makeRig(SIZE);
    const answers: (() => void)[] = [];
    const late = vi.spyOn(ended.target, 'blockStatus');
    late.mockImplementation(async (offset) => {
      await new Promise<void>((resolve) => answers.push(resolve));
      return [{ offset, length: 512, hole: false, zero: false }];
    });
    const job = await warningsOf(ended, { bitmap: 'b' });
    job.cancel({ force: true });
    await job.ended;
    for (const answer of answers) answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(late.mock.calls.length).toBe(1);
  });

  it('warns of nothing when the job has ended', async () => {
    const rig = await makeRig(0);
    const answers: (() => void)[] = [];
    const hang = () => new Promise<void>((resolve) => answers.push(resolve));
    rig.target.meddle = (verb) => (verb === 'status' ? hang() : undefined);
    const job = await warningsOf(rig, { bitmap: 'b' });
    job.cancel({ force: true });
    await job.ended;
    for (const answer of answers) answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toHaveLength(1);
    expect(job.query()['x-warnings']).toEqual([]);
  });
});

it('each warning is in the log once', async () => {
  const warn = vi.fn();
  const pitfalls = new BitmapPitfalls({
    bitmap: new DirtyBitmap({ name: 'b', size: SIZE, granularity: 512 }),
    clusterBytes: 1,
    target: new MemoryNode('t', { size: SIZE }),
    log: { ...silentLog, warn },
  });
  pitfalls.noteMode('write-blocking');
  pitfalls.noteMode('write-blocking');
  await pitfalls.look();
  await pitfalls.look();
  expect(warn.mock.calls.map(([, sentence]) => sentence)).toEqual(pitfalls.warnings);
  expect(pitfalls.warnings).toHaveLength(3);
  expect(warn.mock.calls[0]![0]).toEqual({ target: 't', bitmap: 'b' });
});
