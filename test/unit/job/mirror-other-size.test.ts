import { expect, it } from 'vitest';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';

const KiB = 1024;

it('a target of another size fails the job, and nothing is written to it meanwhile', async () => {
  const rig = new MirrorRig({ size: 1024 * KiB, targetSize: 512 * KiB });
  const bitmap = rig.bitmap('b');
  let flushed = () => {};
  rig.target.meddle = (verb) => {
    if (verb !== 'flush') return;
    return new Promise((resolve) => {
      flushed = resolve;
    });
  };
  const job = rig.mirror({ bitmap: 'b', copyMode: 'write-blocking' });
  await expect.poll(() => rig.target.log).toEqual(['flush 0+0']);
  // The filter is there still, and the job is not over.
  expect(rig.client.node.name).toBe('mirror-top');
  await rig.client.node.write(0, pattern(4 * KiB, 1));
  await rig.client.node.write(768 * KiB, pattern(4 * KiB, 2));
  flushed();
  await job.ended;
  expect(job.error).toBe('Source and target image have different sizes');
  expect(rig.target.log).toEqual(['flush 0+0']);
  expect(bitmap.count).toBe(2 * bitmap.granularity);
});
