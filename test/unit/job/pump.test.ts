import { expect, it, vi } from 'vitest';
import { DirtyMap } from '../../../src/bitmap/dirty-map.ts';
import { DutyCycle } from '../../../src/job/duty-cycle.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';

const MiB = 1 << 20;
const GiB = 1 << 30;

it('copies read behind the burst whose time clients are left in peace for', async () => {
  const rig = new MirrorRig({ size: 4 * MiB });
  await rig.source.write(0, pattern(4 * MiB, 1));
  let inBurst = false;
  const burst = DutyCycle.prototype.burst;
  vi.spyOn(DutyCycle.prototype, 'burst').mockImplementation(function (this: DutyCycle, ...given) {
    const [clientsWrote, work] = given;
    burst.call(this, clientsWrote, () => {
      inBurst = true;
      work();
      inBurst = false;
    });
  });
  let reads = 0;
  rig.source.meddle = (verb) => {
    if (verb === 'read') {
      reads++;
      expect(inBurst).toBe(false);
    }
  };
  rig.mirror();
  await rig.ready();
  expect(reads).toBeGreaterThanOrEqual(4);
  vi.restoreAllMocks();
});

it('what a long claim leaves is found at once, and not looked for where it is held', async () => {
  // The claims that the zeroes make long end where data begins.
  const rig = new MirrorRig({ size: 4 * GiB });
  await rig.source.write(3 * GiB + 100 * MiB, pattern(2 * MiB, 1));
  await rig.target.write(4 * GiB - 1, Buffer.from('x'));
  const looks = vi.spyOn(DirtyMap.prototype, 'nextRun');
  rig.mirror();
  await rig.ready();
  expect(looks.mock.calls.length).toBeLessThan(2000);
  vi.restoreAllMocks();
  const there = Buffer.alloc(2 * MiB);
  await rig.target.read(3 * GiB + 100 * MiB, there);
  expect(there.equals(pattern(2 * MiB, 1))).toBe(true);
});
