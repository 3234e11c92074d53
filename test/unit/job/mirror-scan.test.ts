import { expect, it } from 'vitest';
import { MirrorRig } from '../../support/mirror-rig.ts';

const MiB = 1 << 20;
const BLOCK = 4096;

it('the scan of a source that answers at once lets others have their turn', async () => {
  const size = 256 * MiB;
  const rig = new MirrorRig({ size });
  let questions = 0;
  rig.source.disk.blockStatus = (offset) => {
    questions++;
    return [{ offset, length: BLOCK, hole: false, zero: false }];
  };
  const job = rig.mirror({ targetIsZero: true });
  setImmediate(() => job.cancel({ force: true }));
  await job.ended;
  expect(questions).toBeLessThan(size / BLOCK);
});
