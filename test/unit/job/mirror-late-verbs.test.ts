import { expect, it } from 'vitest';
import { MiB } from '../../../src/util/limits.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';

it('a mirror that is about to fail does not promise that clients will move', async () => {
  const rig = new MirrorRig({ size: 1 << 20 });
  rig.bitmap('b');
  const job = rig.mirror({ bitmap: 'b', copyMode: 'write-blocking' });
  await rig.ready();
  let flushed = () => {};
  rig.target.meddle = (verb) => {
    if (verb !== 'flush') throw Object.assign(new Error('no'), { code: 'EIO' });
    return new Promise((resolve) => {
      flushed = resolve;
    });
  };
  rig.target.log.length = 0;
  await rig.client.node.write(0, pattern(4096, 1));
  await expect.poll(() => rig.target.log).toContain('flush 0+0');
  expect(job.status).toBe('ready');
  expect(() => job.complete()).toThrow("The active block job 'mirror0' cannot be completed");
  flushed();
  await job.ended;
  expect(job.error).toBe('Input/output error');
  expect(job.reason).toContain('Cannot write 4096 bytes at 0');
});

it('a resume that comes while a pause waits for copies takes its place', async () => {
  const rig = new MirrorRig({ size: MiB });
  await rig.source.write(0, pattern(MiB, 1));
  let copied = () => {};
  rig.target.meddle = (verb) =>
    verb === 'write'
      ? new Promise((resolve) => {
          copied = resolve;
        })
      : undefined;
  const job = rig.mirror();
  await expect.poll(() => rig.target.log).toContain(`write 0+${MiB}`);
  job.pause();
  await new Promise((resolve) => setTimeout(resolve, 20));
  job.resume();
  copied();
  await rig.ready();
  expect(rig.story).toEqual(['S:created', 'S:running', 'S:ready', 'BLOCK_JOB_READY']);
  await rig.jobs.cancelAll();
});

it('a mirror that was cancelled says so where it says why it failed', async () => {
  const rig = new MirrorRig({ size: MiB });
  const job = rig.mirror({ autoDismiss: false });
  await rig.ready();
  job.cancel({ force: true });
  await job.ended;
  expect([job.status, job.error]).toEqual(['concluded', 'Operation canceled']);
  expect(job.reason).toBe("Job 'mirror0' was cancelled");
});
