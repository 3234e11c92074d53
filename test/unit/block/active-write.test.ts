import { beforeEach, describe, expect, it } from 'vitest';
import type { Completion } from '../../../src/block/node.ts';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { Pending } from '../../../src/util/pending.ts';
import { isDone } from '../../support/is-done.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { pause } from '../../support/process.ts';

const MiB = 1 << 20;

describe('a write to both sides', () => {
  let rig: MirrorRig;
  let job: MirrorJob;
  beforeEach(async () => {
    rig = new MirrorRig({ size: MiB });
    job = rig.mirror({ copyMode: 'write-blocking', onTargetError: 'stop' });
    await rig.ready();
  });

  function write(): Completion {
    return rig.client.node.write(4096, pattern(4096, 1));
  }

  it('needs no promise if both have it at once', async () => {
    expect(write()).toBeUndefined();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('fails at once if the source does and the target has it at once', () => {
    rig.source.meddle = () => {
      throw new Error('no');
    };
    expect(write).toThrow('no');
    rig.source.meddle = () => {};
    expect(write()).toBeUndefined();
  });

  it('is told of as soon as the target has it', () => {
    const toTarget = new Pending();
    rig.target.write = () => toTarget;
    const done = write() as Pending;
    let told = false;
    done.watch({
      onEnd: (failure) => {
        told = failure === undefined;
      },
    });
    toTarget.succeed();
    expect(told).toBe(true);
  });

  it.each(['source', 'target'] as const)('waits for the %s, whoever is first', async (slow) => {
    const [first, second] = [new Pending(), new Pending()];
    rig.source.write = () => (slow === 'source' ? second : first);
    rig.target.write = () => (slow === 'target' ? second : first);
    const done = write() as Pending;
    first.succeed();
    expect(await isDone(done)).toBe(false);
    second.succeed();
    expect(await isDone(done)).toBe(true);
  });

  it('fails with the source when the target has ended too', async () => {
    const toTarget = new Pending();
    rig.source.meddle = () => {
      throw new Error('no');
    };
    rig.target.write = () => toTarget;
    const done = write() as Pending;
    const failed = expect(done).rejects.toThrow('no');
    expect(await isDone(done.catch(() => {}))).toBe(false);
    toTarget.succeed();
    await failed;
  });

  it.each([false, true])('is marked first if the target fails (the source: %s)', async (both) => {
    const [toSource, toTarget] = [new Pending(), new Pending()];
    rig.source.write = () => toSource;
    rig.target.write = () => toTarget;
    const told: string[] = [];
    (write() as Pending).watch({
      onEnd: (failure) => told.push(`${failure}, ${job.query()['x-dirty-bytes']} bytes dirty`),
    });
    toTarget.fail(new BlockError('EIO', 'target'));
    await pause(1);
    expect(told).toEqual([]);
    if (both) toSource.fail(new BlockError('EIO', 'source'));
    else toSource.succeed();
    await pause(1);
    expect(told).toEqual([`${both ? 'BlockError: source' : undefined}, 65536 bytes dirty`]);
  });

  it.each(['has ended', 'has failed'])('%s at once when it has got its range', async (how) => {
    const toTarget = new Pending();
    rig.target.write = () => toTarget;
    const [first, second] = [write() as Pending, write() as Pending];
    rig.target.write = () => {};
    rig.source.meddle = () => {
      if (how === 'has failed') throw new BlockError('EIO', 'no');
    };
    const ended = Promise.allSettled([first, second]);
    toTarget.succeed();
    expect((await ended).map(({ status }) => status)).toEqual([
      'fulfilled',
      how === 'has failed' ? 'rejected' : 'fulfilled',
    ]);
  });

  it('that waited until nothing is copied keeps the sides from counting as equal', async () => {
    const [toTarget, toSource] = [new Pending(), new Pending()];
    const [sourceWrite, targetWrite] = [rig.source.write, rig.target.write];
    rig.target.write = () => toTarget;
    const [first, second] = [write(), write()];
    rig.target.write = () => {
      throw new BlockError('EIO', 'no');
    };
    await rig.client.node.write(1 << 17, pattern(4096, 2));
    expect(job.query()['actively-synced']).toBe(false);
    rig.target.write = targetWrite;
    rig.source.write = () => toSource;
    toTarget.succeed();
    await first;
    await expect.poll(() => job.status).toBe('standby');
    job.resume();
    await expect.poll(() => job.query()['x-dirty-bytes']).toBe(0);
    await pause(20);
    expect(job.query()['actively-synced']).toBe(false);
    rig.source.write = sourceWrite;
    toSource.succeed();
    await second;
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
  });

  it.each([
    { source: undefined, target: false, both: false },
    { source: undefined, target: true, both: true },
    { source: true, target: false, both: true },
    { source: false, target: false, both: false },
  ])('needs its data ($both) if source ($source) or target ($target) do', (needs) => {
    const [toSource, toTarget] = [new Pending(), new Pending()];
    toTarget.keepsData = needs.target;
    rig.target.write = () => toTarget;
    if (needs.source !== undefined) {
      toSource.keepsData = needs.source;
      rig.source.write = () => toSource;
    }
    const done = write() as Pending;
    expect(done.keepsData).toBe(needs.both);
    toSource.succeed();
    toTarget.succeed();
  });

  it('needs its data while it waits for its range, and for a source with a promise', async () => {
    const toTarget = new Pending();
    toTarget.keepsData = false;
    rig.target.write = () => toTarget;
    const [first, second] = [write() as Pending, write() as Pending];
    expect([first.keepsData, second.keepsData]).toEqual([false, true]);
    toTarget.succeed();
    await Promise.all([first, second]);
    rig.source.meddle = () => Promise.resolve();
    const third = write() as Pending;
    expect(third.keepsData).toBe(true);
    await third;
  });
});
