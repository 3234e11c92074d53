import { describe, expect, it } from 'vitest';
import {
  BATCHES,
  BitmapSync,
  type CopyMode,
  type Failure,
  type SyncMode,
} from '../support/bitmap-sync.ts';
import { contents } from '../support/mirror-rig.ts';
import { GRANULE } from '../support/qmp-mirror-rig.ts';

/**
 * How many granules of the operator's bitmap are dirty: after the first mirror, after the second
 * batch of writes, after the second mirror (clients wrote the third batch meanwhile), after the
 * fourth batch, and after the third mirror.
 */
interface Row {
  readonly mode: SyncMode;
  readonly failure: Failure;
  readonly counts: readonly [number, number, number, number, number];
}

const ROWS: readonly Row[] = [
  { mode: 'always', failure: 'none', counts: [0, 7, 0, 2, 0] },
  { mode: 'always', failure: 'cancel in pending', counts: [0, 7, 0, 2, 0] },
  // Exactly the first granule has reached the target and is clean.
  { mode: 'always', failure: 'read error', counts: [5, 9, 0, 2, 0] },
  { mode: 'always', failure: 'write error', counts: [5, 9, 0, 2, 0] },
  { mode: 'never', failure: 'none', counts: [6, 10, 15, 16, 16] },
  { mode: 'never', failure: 'cancel in pending', counts: [6, 10, 15, 16, 16] },
  { mode: 'never', failure: 'read error', counts: [6, 10, 15, 16, 16] },
  { mode: 'never', failure: 'write error', counts: [6, 10, 15, 16, 16] },
  { mode: 'on-success', failure: 'none', counts: [0, 7, 0, 2, 0] },
  { mode: 'on-success', failure: 'cancel in pending', counts: [6, 10, 0, 2, 0] },
  { mode: 'on-success', failure: 'read error', counts: [6, 10, 0, 2, 0] },
  { mode: 'on-success', failure: 'write error', counts: [6, 10, 0, 2, 0] },
];
const MODES: readonly CopyMode[] = ['background', 'write-blocking'];

describe.each(MODES.flatMap((copyMode) => ROWS.map((row) => ({ ...row, copyMode }))))(
  'sync mode $mode, $copyMode, $failure',
  ({ mode, failure, copyMode, counts }) => {
    it('has the counts, the flags and the images that it must have', async () => {
      const sync = new BitmapSync(mode, copyMode);
      const { rig } = sync;
      const base = await sync.begin();
      await sync.write(BATCHES[0]!);
      expect(await sync.dirty()).toBe(6);

      const first = await sync.mirror(base, {
        failure,
        atReady: async ({ ready }) => {
          expect(ready).toMatchObject({ len: 393_216, offset: 393_216 });
          const own = { busy: true, recording: false, count: 0 };
          expect(await rig.shown(sync.working)).toMatchObject(own);
          if (mode === 'always') return;
          const operators = { busy: false, recording: true, count: 6 * GRANULE };
          expect(await rig.shown('b')).toMatchObject(operators);
        },
      });
      const inSync = failure === 'none' || failure === 'cancel in pending';
      expect(first.equals(await contents(rig.source.disk))).toBe(inSync);
      expect(await sync.dirty()).toBe(counts[0]);
      if (counts[0] === 5) expect(sync.dirtyGranules()).toEqual([15, 16, 128, 129, 254]);
      await sync.write(BATCHES[1]!);
      expect(await sync.dirty()).toBe(counts[1]);

      // What the bitmap says is clean the target must have: from the first job, or from before it.
      const kept = mode === 'always' || (mode === 'on-success' && failure === 'none');
      const reference = await contents(rig.source.disk);
      const second = await sync.mirror(kept ? first : base, {
        atReady: async ({ ready }) => {
          expect(ready.len).toBe(counts[1] * GRANULE);
          await sync.write(BATCHES[2]!);
          await expect.poll(async () => (await rig.shown(sync.working))!.count).toBe(0);
        },
      });
      expect(second.equals(reference)).toBe(false);
      expect(second.equals(await contents(rig.source.disk))).toBe(true);
      expect(await sync.dirty()).toBe(counts[2]);
      await sync.write(BATCHES[3]!);
      expect(await sync.dirty()).toBe(counts[3]);

      const third = await sync.mirror(mode === 'never' ? base : second);
      expect(third.equals(await contents(rig.source.disk))).toBe(true);
      expect(await sync.dirty()).toBe(counts[4]);
      expect(await rig.shown('b')).toMatchObject({ busy: false, recording: true });
    });
  },
);
