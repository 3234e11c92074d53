import { describe, expect, it } from 'vitest';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';

/** Errors that come when a job is on its way to its end already. */
const MiB = 1 << 20;
const lost = () => Object.assign(new Error('lost'), { code: 'EIO' });

it('report: copies that fail together are told of once', async () => {
  const rig = new MirrorRig({ size: MiB });
  rig.bitmap('b0', [
    [0, 512],
    [MiB / 2, 512],
  ]);
  await rig.source.disk.write(0, pattern(MiB, 1));
  const fail: (() => void)[] = [];
  rig.target.meddle = (verb) => {
    if (verb !== 'write') return;
    return new Promise((_, reject) => void fail.push(() => reject(lost())));
  };
  const job = rig.mirror({ bitmap: 'b0' });
  await expect.poll(() => fail.length).toBe(2);
  for (const one of fail) one();
  await job.ended;
  expect(rig.story.filter((event) => event === 'BLOCK_JOB_ERROR')).toHaveLength(1);
});

describe('a client’s flush that fails on the target while the job is pending', () => {
  it.each(['ignore', 'stop'] as const)('ends it also with %s', async (policy) => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({
      copyMode: 'write-blocking',
      autoFinalize: false,
      onTargetError: policy,
    });
    await rig.ready();
    job.complete();
    await rig.event('BLOCK_JOB_PENDING');
    rig.target.meddle = (verb) => {
      if (verb === 'flush') throw lost();
    };
    await rig.client.node.flush();
    const { data } = await rig.event('BLOCK_JOB_ERROR');
    expect([data.action, job.userPaused, job.ioStatus]).toEqual(['report', false, 'ok']);
    job.finalize();
    await job.ended;
    expect(job.error).toBe('Input/output error');
    expect(rig.client.node).toBe(rig.source);
  });
});
