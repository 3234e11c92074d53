import { describe, expect, it, vi } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { WRITE_FUA } from '../../../src/block/node.ts';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import { areEqual, expectWholeUnits, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { InFlight } from '../../support/shaky-node.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const CLUSTER = 64 * KiB;
/** The disk ends inside a cluster. */
const SIZE = 16 * CLUSTER + 20 * KiB;

/** Source and target are equal; what is written from now on is in a bitmap of this granularity. */
async function synced(granularity: number): Promise<MirrorRig> {
  const rig = new MirrorRig({ size: SIZE });
  for (const node of [rig.source, rig.target]) await node.disk.write(0, pattern(SIZE, 1));
  rig.source.addBitmap(new DirtyBitmap({ name: 'b', size: SIZE, granularity }));
  rig.source.setRecording(rig.source.findBitmap('b')!, true);
  return rig;
}

async function scatter(rig: MirrorRig): Promise<void> {
  const { node } = rig.client;
  await node.write(5 * KiB, pattern(3 * KiB, 2));
  await node.write(4 * CLUSTER - KiB, pattern(2 * KiB, 3));
  await node.writeZeroes(6 * CLUSTER - 8 * KiB, CLUSTER + 16 * KiB);
  await node.discard(10 * CLUSTER - 4 * KiB, 8 * KiB);
  await node.write(SIZE - KiB, pattern(KiB, 4));
}

/** Lets the job end with the target as a copy; the bitmap is clean then. */
async function endWell(rig: MirrorRig, job: MirrorJob): Promise<void> {
  job.cancel({ force: false });
  await job.ended;
  expect(job.error).toBeUndefined();
  expect(await areEqual(rig.source, rig.target)).toBe(true);
  expect(rig.source.findBitmap('b')!.isClean).toBe(true);
}

describe.each(['background', 'write-blocking'] as const)(
  'a %s mirror with clusters',
  (copyMode) => {
    it.each([4 * KiB, 256 * KiB])(
      'writes whole ones, with granules of %d bytes',
      async (granularity) => {
        const rig = await synced(granularity);
        await scatter(rig);
        const job = rig.mirror({ copyMode, bitmap: 'b', targetClusterSize: CLUSTER });
        await rig.ready();
        await scatter(rig);
        await endWell(rig, job);
        expectWholeUnits(rig.target, CLUSTER);
      },
    );

    it('copies clusters of which a few bytes are dirty, and no others', async () => {
      const rig = await synced(4 * KiB);
      await rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2));
      const job = rig.mirror({ copyMode, bitmap: 'b', targetClusterSize: CLUSTER });
      await rig.ready();
      expect(rig.target.log.filter((entry) => entry.startsWith('write'))).toEqual([
        `write ${3 * CLUSTER}+${CLUSTER}`,
      ]);
      await endWell(rig, job);
    });

    it('writes whole ones where the source has zeroes and data in one', async () => {
      const cluster = 2 * MiB;
      const size = 8 * MiB;
      const rig = new MirrorRig({ size });
      rig.source.addBitmap(new DirtyBitmap({ name: 'b', size, granularity: 64 * KiB }));
      const bitmap = rig.source.findBitmap('b')!;
      rig.source.setRecording(bitmap, true);
      // Holes and data by turns, then zeroes that were written as data among others, then holes.
      for (let at = 0; at < 3 * MiB; at += 256 * KiB) {
        await rig.client.node.write(at, pattern(64 * KiB, at));
      }
      await rig.client.node.write(4 * MiB, Buffer.alloc(2 * MiB));
      await rig.client.node.write(5 * MiB, pattern(64 * KiB, 5));
      await rig.client.node.writeZeroes(6 * MiB, 2 * MiB);
      const job = rig.mirror({ copyMode, bitmap: 'b', targetClusterSize: cluster });
      await rig.ready();
      await rig.client.node.write(3 * MiB, pattern(KiB, 3));
      await rig.client.node.write(7 * MiB, pattern(KiB, 7));
      await rig.client.node.writeZeroes(KiB, 5 * KiB);
      await endWell(rig, job);
      expectWholeUnits(rig.target, cluster);
      expect(rig.target.log).toContain(`zero ${6 * MiB}+${2 * MiB}`);
    });

    it('writes zeroes also where the target reads as zeroes: its base may not', async () => {
      const rig = new MirrorRig({ size: SIZE });
      const job = rig.mirror({ copyMode, sync: 'none', targetClusterSize: CLUSTER });
      await rig.ready();
      await rig.client.node.writeZeroes(CLUSTER, CLUSTER);
      job.cancel({ force: false });
      await job.ended;
      expect(rig.target.log).toContain(`zero ${CLUSTER}+${CLUSTER}`);
    });

    it('leaves a cluster dirty that may be there in part', async () => {
      const rig = await synced(4 * KiB);
      await rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2));
      rig.target.meddle = (verb) => {
        if (verb === 'write') throw Object.assign(new Error('broken'), { code: 'EIO' });
      };
      const job = rig.mirror({ copyMode, bitmap: 'b', targetClusterSize: CLUSTER });
      await job.ended;
      const bitmap = rig.source.findBitmap('b')!;
      expect(bitmap.count).toBe(CLUSTER);
      expect(bitmap.nextDirty(0)).toBe(3 * CLUSTER);
    });
  },
);

describe('a synchronous write to a part of a cluster', () => {
  it('leaves all of the cluster dirty when the target fails', async () => {
    const rig = await synced(4 * KiB);
    const options = { copyMode: 'write-blocking', onTargetError: 'stop' } as const;
    rig.mirror({ ...options, bitmap: 'b', targetClusterSize: CLUSTER });
    await rig.ready();
    rig.target.meddle = (verb) => {
      if (verb === 'write') throw Object.assign(new Error('broken'), { code: 'EIO' });
    };
    await rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2));
    const bitmap = rig.source.findBitmap('b')!;
    expect(bitmap.count).toBe(CLUSTER);
    expect(bitmap.nextDirty(0)).toBe(3 * CLUSTER);
  });

  it('is on the disk of the target when the client wants it there', async () => {
    const rig = await synced(4 * KiB);
    const options = { copyMode: 'write-blocking', bitmap: 'b' } as const;
    rig.mirror({ ...options, targetClusterSize: CLUSTER });
    await rig.ready();
    const write = vi.spyOn(rig.target.disk, 'write');
    await rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2), WRITE_FUA);
    expect(write).toHaveBeenCalledWith(3 * CLUSTER, expect.anything(), WRITE_FUA);
  });

  it('is an error of the source when the rest cannot be read', async () => {
    const rig = await synced(4 * KiB);
    const options = { copyMode: 'write-blocking', onSourceError: 'stop' } as const;
    rig.mirror({ ...options, bitmap: 'b', targetClusterSize: CLUSTER });
    await rig.ready();
    rig.source.meddle = (verb) => {
      if (verb === 'read') throw Object.assign(new Error('broken'), { code: 'EIO' });
    };
    await rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2));
    const { data } = await rig.event('BLOCK_JOB_ERROR');
    expect(data).toMatchObject({ operation: 'read', 'x-side': 'source' });
    expect(rig.target.log.filter((entry) => entry.startsWith('write'))).toEqual([]);
  });

  it('stays away from a target that hangs when the job is cancelled meanwhile', async () => {
    for (const request of ['write', 'discard'] as const) {
      const rig = await synced(4 * KiB);
      const options = { copyMode: 'write-blocking', bitmap: 'b' } as const;
      const job = rig.mirror({ ...options, targetClusterSize: CLUSTER });
      await rig.ready();
      let release = () => {};
      rig.source.meddle = (verb) =>
        verb === request ? new Promise<void>((resolve) => (release = resolve)) : undefined;
      rig.target.meddle = () => new Promise(() => {});
      const { node } = rig.client;
      const written =
        request === 'write'
          ? node.write(3 * CLUSTER + KiB, pattern(KiB, 2))
          : node.discard(3 * CLUSTER + KiB, KiB);
      await expect.poll(() => rig.source.log.at(-1)).toMatch(request);
      job.cancel({ force: true });
      release();
      await Promise.all([written, job.ended]);
      expect(rig.source.findBitmap('b')!.nextDirty(0)).toBe(3 * CLUSTER);
    }
  });

  it('reaches the target though the source cannot tell what is zero', async () => {
    const rig = await synced(4 * KiB);
    const options = { copyMode: 'write-blocking', bitmap: 'b' } as const;
    const job = rig.mirror({ ...options, targetClusterSize: CLUSTER });
    await rig.ready();
    rig.source.meddle = (verb) => {
      if (verb === 'status') throw Object.assign(new Error('unknown'), { code: 'EIO' });
    };
    await rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2));
    expect(rig.target.log).toContain(`write ${3 * CLUSTER}+${CLUSTER}`);
    expect(job.query()['actively-synced']).toBe(true);
  });

  it('waits for another write to the same cluster', async () => {
    const rig = await synced(4 * KiB);
    const options = { copyMode: 'write-blocking', bitmap: 'b' } as const;
    const job = rig.mirror({ ...options, targetClusterSize: CLUSTER });
    await rig.ready();
    // Each reads around itself: together they would put back what the other has replaced.
    let releaseFirst = () => {};
    rig.target.meddle = (verb) => {
      if (verb !== 'write' || releaseFirst.name === 'release') return;
      return new Promise<void>((resolve) => {
        releaseFirst = function release() {
          resolve();
        };
      });
    };
    const first = rig.client.node.write(3 * CLUSTER + KiB, pattern(KiB, 2));
    const second = rig.client.node.write(3 * CLUSTER + 8 * KiB, pattern(KiB, 3));
    await expect.poll(() => releaseFirst.name).toBe('release');
    releaseFirst();
    await Promise.all([first, second]);
    await endWell(rig, job);
    expectWholeUnits(rig.target, CLUSTER);
  });
});

describe('a background mirror with a working bitmap', () => {
  it('sends a large granule in whole, but has only some of it in memory', async () => {
    const size = 64 * MiB;
    const rig = new MirrorRig({ size });
    for (const node of [rig.source, rig.target]) await node.disk.write(0, pattern(MiB, 1));
    rig.source.addBitmap(new DirtyBitmap({ name: 'b', size, granularity: size }));
    rig.source.setRecording(rig.source.findBitmap('b')!, true);
    for (let at = 0; at < size; at += MiB) await rig.source.disk.write(at, pattern(MiB, at));
    await rig.client.node.write(20 * MiB, pattern(KiB, 2));
    const inFlight = new InFlight(rig.target, () => new Promise((done) => setImmediate(done)));
    const job = rig.mirror({ bitmap: 'b' });
    await rig.ready();
    expect(inFlight.most).toBeLessThanOrEqual(16 * MiB);
    await endWell(rig, job);
  });

  it('writes whole granules also while it converges to its end', async () => {
    const rig = await synced(CLUSTER);
    const job = rig.mirror({ bitmap: 'b' });
    await rig.ready();
    let release = () => {};
    rig.target.meddle = (verb) => {
      if (verb !== 'flush') return;
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    };
    rig.target.log.length = 0;
    const written = Promise.all([
      rig.client.node.write(9 * CLUSTER + KiB, pattern(KiB, 2)),
      rig.client.node.writeZeroes(11 * CLUSTER + KiB, 2 * KiB),
    ]);
    job.cancel({ force: false });
    const late = rig.client.node.write(13 * CLUSTER + KiB, pattern(KiB, 5));
    await expect.poll(() => rig.target.log.includes('flush 0+0')).toBe(true);
    rig.target.meddle = () => {};
    release();
    await Promise.all([written, late, job.ended]);
    expect(rig.target.log).toContain(`write ${13 * CLUSTER}+${CLUSTER}`);
    expectWholeUnits(rig.target, CLUSTER);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });
});
