import { beforeEach, describe, expect, it } from 'vitest';
import { WRITE_FUA } from '../../../src/block/node.ts';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import { isDone } from '../../support/is-done.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

/** A flush of all that was copied may take a target minutes. */
const MiB = 1 << 20;
const GRANULE = 65_536;
let rig: MirrorRig;
let endFlush: () => void;

beforeEach(() => {
  rig = new MirrorRig({ size: MiB });
});

/** The target's next flush lasts until `endFlush`; meanwhile it may do nothing else. */
function slowFlush({ isBusy = false } = {}): void {
  rig.target.log.length = 0;
  let flushing: Promise<void> | undefined;
  rig.target.meddle = (verb) => {
    if (verb !== 'flush') return isBusy ? flushing : undefined;
    flushing = new Promise<void>((resolve) => {
      endFlush = () => {
        rig.target.meddle = () => {};
        resolve();
      };
    });
    return flushing;
  };
}

const isFlushing = () => expect.poll(() => rig.target.log).toContain('flush 0+0');

/** What a client asks of a disk, one after the other. */
async function workload(): Promise<void> {
  const { node } = rig.client;
  await node.write(2 * GRANULE, pattern(4096, 3));
  await node.write(3 * GRANULE, pattern(4096, 4), WRITE_FUA);
  await node.writeZeroes(4 * GRANULE, 4096, WRITE_FUA);
  await node.discard(5 * GRANULE, 4096, WRITE_FUA);
  await node.flush();
}

describe('in background mode', () => {
  it('clients do not wait for the one before READY', async () => {
    await rig.source.write(0, pattern(MiB, 1));
    let copied = () => {};
    rig.target.meddle = (verb) =>
      verb !== 'write' ? undefined : new Promise<void>((resolve) => (copied = resolve));
    const job = rig.mirror();
    await expect.poll(() => rig.target.log).toContain(`write 0+${MiB}`);
    // There is something left: client writes are to be copied synchronously at last.
    await rig.client.node.write(0, pattern(4096, 2));
    slowFlush({ isBusy: true });
    copied();
    await isFlushing();
    await workload();
    expect(job.isReady).toBe(false);
    endFlush();
    await rig.ready();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('FUA and flushes stay away from the target, whatever goes there', async () => {
    const flags = targetFlags();
    const job = rig.mirror();
    await ending(job);
    await rig.client.node.write(0, pattern(4096, 1), WRITE_FUA);
    expect(flags).toEqual([0]);
    rig.target.log.length = 0;
    await rig.client.node.flush();
    expect(rig.target.log).toEqual([]);
    endFlush();
    await job.ended;
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('they go there from a change of the mode on', async () => {
    const flags = targetFlags();
    const job = rig.mirror();
    await ending(job);
    job.changeCopyMode('write-blocking');
    await rig.client.node.write(0, pattern(4096, 1), WRITE_FUA);
    expect(flags).toEqual([WRITE_FUA]);
    const flush = Promise.resolve(rig.client.node.flush());
    expect(await isDone(flush)).toBe(false);
    endFlush();
    await Promise.all([flush, job.ended]);
  });
});

describe.each(['background', 'write-blocking'] as const)('at the end, %s', (copyMode) => {
  it.each(['complete', 'cancel'] as const)('clients are not held for it: %s', async (how) => {
    const job = rig.mirror({ copyMode });
    await ending(job, how);
    await rig.client.node.write(0, pattern(4096, 1));
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    endFlush();
    await job.ended;
    expect([job.error, rig.client.node]).toEqual([
      undefined,
      how === 'complete' ? rig.target : rig.source,
    ]);
    // What came during the first one is flushed as well.
    expect(rig.target.log.at(-1)).toBe('flush 0+0');
  });

  it('a pause that comes meanwhile holds nobody', async () => {
    const job = rig.mirror({ copyMode });
    await ending(job);
    job.pause();
    endFlush();
    await expect.poll(() => job.status).toBe('standby');
    await rig.client.node.write(0, pattern(4096, 1));
    job.resume();
    await job.ended;
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('a forced cancel does not wait for it', async () => {
    const job = rig.mirror({ copyMode });
    await ending(job);
    job.cancel({ force: true });
    await job.ended;
    expect(rig.story).toContain('BLOCK_JOB_CANCELLED');
  });
});

/** READY, told to end, and in the midst of a flush. */
async function ending(job: MirrorJob, how: 'complete' | 'cancel' = 'cancel'): Promise<void> {
  await rig.ready();
  slowFlush();
  if (how === 'complete') job.complete();
  else job.cancel({ force: false });
  await isFlushing();
}

/** The flags of what is written to the target from now on. */
function targetFlags(): number[] {
  const told: number[] = [];
  const { disk } = rig.target;
  const write = disk.write.bind(disk);
  disk.write = (offset, data, flags = 0) => {
    told.push(flags);
    return write(offset, data, flags);
  };
  return told;
}
