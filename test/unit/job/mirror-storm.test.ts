import { describe, expect, it } from 'vitest';
import type { MirrorTop } from '../../../src/block/mirror-top.ts';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import {
  areEqual,
  contents,
  expectWholeUnits,
  MirrorRig,
  pattern,
} from '../../support/mirror-rig.ts';
import { Random } from '../../support/random.ts';
import { turns } from '../../support/turns.ts';

/**
 * The whole mirror under random overlapping writes, random delays and random errors. After every
 * answer the first and third law are checked: what differs is dirty, or held by a copy or a
 * synchronous write, or touched by a write that has not been answered. Some of the targets have
 * clusters, smaller or larger than granules: what is written there is whole ones.
 */
const GRANULE = 65536;
const SIZE = 24 * GRANULE + 1000;
const CLIENTS = 6;
const WRITES_EACH = 40;

interface Unanswered {
  offset: number;
  length: number;
}

function makeShaky(rig: MirrorRig, random: Random, errorRate: number): () => void {
  let rate = errorRate;
  for (const node of [rig.source, rig.target]) {
    node.actsFirst = () => random.chance(0.5);
    node.meddle = (verb) => {
      const isJobs = node === rig.target ? verb !== 'status' : verb === 'read';
      if (isJobs && random.chance(rate)) {
        throw Object.assign(new Error('shaky'), { code: 'EIO' });
      }
      return random.chance(0.7) ? turns(random.below(6)) : undefined;
    };
  }
  return () => {
    rate = 0;
  };
}

async function client(rig: MirrorRig, random: Random, open: Set<Unanswered>, check: () => void) {
  for (let n = 0; n < WRITES_EACH; n++) {
    const length = 1 + random.below(random.chance(0.3) ? 3 * GRANULE : 9000);
    const offset = random.below(SIZE - length);
    const range = { offset, length };
    open.add(range);
    const kind = random.below(10);
    if (kind === 0) await rig.client.node.writeZeroes(offset, length);
    else if (kind === 1) await rig.client.node.discard(offset, length);
    else await rig.client.node.write(offset, pattern(length, random.below(1e6)));
    open.delete(range);
    check();
    if (random.chance(0.3)) await turns(random.below(10));
  }
}

function checkLaws(rig: MirrorRig, job: MirrorJob, top: MirrorTop, open: Set<Unanswered>): void {
  const source = Buffer.alloc(SIZE);
  const target = Buffer.alloc(SIZE);
  void rig.source.disk.read(0, source);
  void rig.target.disk.read(0, target);
  for (let at = 0; at < SIZE; at += GRANULE) {
    const end = Math.min(at + GRANULE, SIZE);
    if (source.subarray(at, end).equals(target.subarray(at, end))) continue;
    if (top.dirty.bitmap.isDirty(at)) continue;
    if ([...open].some((write) => write.offset < end && at < write.offset + write.length)) continue;
    const hold = top.lock.tryLock(at, end - at);
    hold?.release();
    expect(hold, `granule ${at} differs, is clean and belongs to nobody`).toBeUndefined();
  }
  if (job.query()['actively-synced']) expect(top.dirty.bitmap.isClean).toBe(true);
}

async function storm(seed: number): Promise<void> {
  const random = new Random(seed);
  const rig = new MirrorRig({ size: SIZE });
  await rig.source.write(0, pattern(SIZE / 2, seed));
  const copyMode = random.chance(0.5) ? 'background' : 'write-blocking';
  const clusterSize = random.chance(0.5) ? undefined : GRANULE * 4 ** (random.below(3) - 1);
  const noMoreErrors = makeShaky(rig, random, random.chance(0.5) ? 0.02 : 0);
  const open = new Set<Unanswered>();
  let check = () => {};
  const clients = Array.from({ length: CLIENTS }, () => client(rig, random, open, () => check()));
  await turns(random.below(5));
  // A bitmap that is all dirty: so the laws hold from the job's first instant.
  rig.bitmap('b0', [[0, SIZE]]);
  const job = rig.mirror({
    copyMode,
    bitmap: 'b0',
    onSourceError: 'ignore',
    onTargetError: 'ignore',
    bufSize: GRANULE * (1 + random.below(20)),
    targetClusterSize: clusterSize,
  });
  const top = rig.graph.find('mirror-top') as MirrorTop;
  check = () => {
    if (job.status === 'running' || job.status === 'ready') checkLaws(rig, job, top, open);
  };
  if (random.chance(0.4)) {
    await turns(random.below(100));
    if (job.status === 'running' || job.status === 'ready') {
      job.pause();
      await turns(random.below(100));
      job.resume();
    }
  }
  if (random.chance(0.4)) job.changeCopyMode('write-blocking');
  await rig.ready();
  await turns(random.below(200));
  const pivots = random.chance(0.5);
  // After the pivot the target's errors would be the clients' own.
  if (pivots) noMoreErrors();
  if (pivots) job.complete();
  else job.cancel({ force: false });
  await job.ended;
  if (!pivots) {
    // A copy of one instant: what was written afterwards is the source's alone.
    expect(rig.client.node).toBe(rig.source);
    if (clusterSize !== undefined) expectWholeUnits(rig.target, clusterSize);
  } else {
    expect(rig.client.node).toBe(rig.target);
  }
  for (const node of [rig.source, rig.target]) node.meddle = () => {};
  await Promise.all(clients);
}

describe('a mirror in a storm', () => {
  it.each(Array.from({ length: 24 }, (_, seed) => [seed]))('keeps the laws, seed %d', storm);

  it('leaves both disks equal when clients stop before the end', async () => {
    for (let seed = 100; seed < 120; seed++) {
      const random = new Random(seed);
      const rig = new MirrorRig({ size: SIZE });
      makeShaky(rig, random, 0.02);
      const job = rig.mirror({
        copyMode: seed % 2 === 0 ? 'background' : 'write-blocking',
        onSourceError: 'ignore',
        onTargetError: 'ignore',
      });
      await Promise.all(
        Array.from({ length: CLIENTS }, () => client(rig, random, new Set(), () => {})),
      );
      await rig.ready();
      job.cancel({ force: false });
      await job.ended;
      expect(await areEqual(rig.source, rig.target), `seed ${seed}`).toBe(true);
    }
  });

  it('pivots under load without losing a write', async () => {
    for (let seed = 200; seed < 220; seed++) {
      const random = new Random(seed);
      const rig = new MirrorRig({ size: SIZE });
      makeShaky(rig, random, 0);
      const job = rig.mirror({ copyMode: seed % 2 === 0 ? 'background' : 'write-blocking' });
      const expected = Buffer.alloc(SIZE);
      // One client, one write at a time: what the disk must hold is known exactly.
      const writing = (async () => {
        for (let n = 0; n < 150; n++) {
          const length = 1 + random.below(20_000);
          const offset = random.below(SIZE - length);
          const data = pattern(length, n);
          await rig.client.node.write(offset, data);
          data.copy(expected, offset);
        }
      })();
      await rig.ready();
      job.complete();
      await Promise.all([job.ended, writing]);
      expect(rig.client.node).toBe(rig.target);
      expect((await contents(rig.target.disk)).equals(expected), `seed ${seed}`).toBe(true);
    }
  });
});
