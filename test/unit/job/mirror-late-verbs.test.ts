import { expect, it } from 'vitest';
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
