import { afterEach, describe, expect, it, vi } from 'vitest';
import { DirtyMap } from '../../../src/bitmap/dirty-map.ts';
import type { CopyMode } from '../../../src/block/mirror-top.ts';
import { DutyCycle, type RestsFor } from '../../../src/job/duty-cycle.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

const MiB = 1 << 20;
const GiB = 1 << 30;

/** Where the work of copies runs, and what its bursts were rested for. */
function watchDutyCycle() {
  const seen = { inside: 'neither' as 'burst' | 'copy' | 'neither', restsFor: [] as RestsFor[] };
  const within = <T>(place: 'burst' | 'copy', work: () => T): T => {
    expect(seen.inside).toBe('neither');
    seen.inside = place;
    const result = work();
    seen.inside = 'neither';
    return result;
  };
  const { burst, copy } = DutyCycle.prototype;
  vi.spyOn(DutyCycle.prototype, 'burst').mockImplementation(function (this: DutyCycle, ...given) {
    const [restsFor, clientWaits, work] = given;
    seen.restsFor.push(restsFor);
    return burst.call(this, restsFor, clientWaits, (isAlone) =>
      within('burst', () => work(isAlone)),
    );
  });
  vi.spyOn(DutyCycle.prototype, 'copy').mockImplementation(function (this: DutyCycle, work) {
    return copy.call(this, () => within('copy', work));
  });
  return seen;
}

afterEach(() => {
  vi.restoreAllMocks();
});

it('copies read and write behind the burst, where it is counted what they do', async () => {
  const rig = new MirrorRig({ size: 4 * MiB });
  await rig.source.write(0, pattern(4 * MiB, 1));
  const seen = watchDutyCycle();
  const places: string[] = [];
  rig.source.meddle = rig.target.meddle = (verb) => {
    if (verb === 'read' || verb === 'write') places.push(`${verb} in ${seen.inside}`);
  };
  rig.mirror();
  await rig.ready();
  expect(new Set(places)).toEqual(new Set(['read in copy', 'write in copy']));
  expect(places.length).toBeGreaterThanOrEqual(8);
});

it('copies that need no memory count as well', async () => {
  const rig = new MirrorRig({ size: MiB });
  await rig.source.write(0, pattern(MiB, 1));
  const seen = watchDutyCycle();
  const places: string[] = [];
  rig.offerFileBytes(() => places.push(seen.inside));
  rig.mirror();
  await rig.ready();
  expect(places).toEqual(['copy']);
});

describe('what clients that write are left in peace for', () => {
  /** Bursts of copies of one client's write to a READY mirror. */
  async function restsAfterWrite(copyMode: CopyMode) {
    const rig = new MirrorRig({ size: MiB });
    const seen = watchDutyCycle();
    rig.mirror({ copyMode, onTargetError: 'ignore' });
    await rig.ready();
    seen.restsFor.length = 0;
    // A copy that fails once: also a mirror that copies synchronously has something to do then.
    let fails = 1;
    rig.target.meddle = (verb) => {
      if (verb === 'write' && fails-- > 0)
        throw Object.assign(new Error('on fire'), { code: 'EIO' });
    };
    await rig.client.node.write(0, pattern(4096, 2));
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    return new Set(seen.restsFor);
  }

  it('until READY: bursts', async () => {
    const rig = new MirrorRig({ size: 32 * MiB });
    await rig.source.write(0, pattern(32 * MiB, 1));
    let wrote = false;
    rig.target.meddle = async (verb) => {
      if (verb !== 'write' || wrote) return;
      wrote = true;
      await rig.client.node.write(MiB, pattern(4096, 2));
    };
    const seen = watchDutyCycle();
    rig.mirror();
    await rig.ready();
    expect(seen.restsFor).toContain('bursts');
    expect(seen.restsFor).not.toContain('everything');
  });

  it('READY in the background: everything', async () => {
    expect(await restsAfterWrite('background')).toContain('everything');
  });

  it('READY in the background, but far behind: bursts', async () => {
    const rig = new MirrorRig({ size: 3 * GiB });
    const seen = watchDutyCycle();
    const job = rig.mirror();
    await rig.ready();
    for (const [bytes, rests] of [
      [GiB, 'everything'],
      [3 * GiB, 'bursts'],
    ] as const) {
      seen.restsFor.length = 0;
      await rig.client.node.writeZeroes(0, bytes);
      await expect.poll(() => job.query()['x-dirty-bytes']).toBe(0);
      expect(seen.restsFor[0]).toBe(rests);
    }
  });

  it('READY, and to be in sync again: bursts', async () => {
    const rests = await restsAfterWrite('write-blocking');
    expect(rests).toContain('bursts');
    expect(rests).not.toContain('everything');
  });

  it('at the end: nothing', async () => {
    const rig = new MirrorRig({ size: MiB });
    const seen = watchDutyCycle();
    const job = rig.mirror();
    await rig.ready();
    seen.restsFor.length = 0;
    const written = rig.client.node.write(0, pattern(4096, 2));
    job.complete();
    await written;
    await job.ended;
    expect(new Set(seen.restsFor)).toEqual(new Set(['nothing']));
  });
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
  const there = Buffer.alloc(2 * MiB);
  await rig.target.read(3 * GiB + 100 * MiB, there);
  expect(there.equals(pattern(2 * MiB, 1))).toBe(true);
});
