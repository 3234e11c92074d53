import { expect, it } from 'vitest';
import type { Qmp } from '../../protocol/qmp/schema.ts';
import { COMPLETED, READY, STARTED, startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/**
 * iotest 151: a write-blocking mirror under a heavy mix of writes and zeroes, which begins before
 * the mirror and ends before its completion. From READY on nothing is ever dirty.
 */
const MiB = 1 << 20;
const SIZE = 16 * MiB;

/** Many requests at a time; `seed` shifts them, so that they overlap what others wrote. */
function load(seed: number): string[] {
  const commands: string[] = [];
  for (let n = 0; n < 120; n++) {
    const offset = ((n * 7919 + seed * 104_729) * 512) % (SIZE - MiB);
    const length = 512 * (1 + ((n * 31 + seed) % 512));
    const kind = n % 3 === 0 ? '-z' : `-P ${1 + ((n + seed) % 255)}`;
    commands.push(`aio_write ${kind} ${offset} ${length}`);
  }
  return [...commands, 'aio_flush', 'flush'];
}

describePeers('a write-blocking mirror', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  it.each(['write-blocking', 'background'])('under load, begun as %s', async (copyMode) => {
    const rig = await startDiskRig({ size: SIZE });
    const before = [rig.io(...load(1)), rig.io(...load(2))];
    await rig.mirror({ 'copy-mode': copyMode });
    const during = [rig.io(...load(3)), rig.io(...load(4))];
    if (copyMode === 'background') {
      const mode = { type: 'mirror', 'copy-mode': 'write-blocking' };
      await rig.execute('block-job-change', { id: 'm0', ...mode });
    }
    await Promise.all([...before, ...during]);
    await rig.ready();
    await expect.poll(async () => (await rig.job())['actively-synced']).toBe(true);
    const after = [rig.io(...load(5)), rig.io(...load(6))];
    let running = true;
    const watched: Qmp<'BlockJobInfo'>[] = [];
    const watch = async () => {
      while (running) watched.push(await rig.job());
    };
    const watching = watch();
    await Promise.all(after);
    running = false;
    await watching;
    expect(watched.length).toBeGreaterThan(1);
    for (const job of watched) {
      expect(job).toMatchObject({ 'actively-synced': true, 'x-dirty-bytes': 0 });
    }
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    expect(rig.story()).toEqual([...STARTED, ...READY, ...COMPLETED]);
    await rig.compare();
  });
});
