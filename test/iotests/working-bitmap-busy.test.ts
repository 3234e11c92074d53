import { beforeEach, describe, expect, it } from 'vitest';
import type { Qmp } from '../../protocol/qmp/schema.ts';
import { pattern } from '../support/mirror-rig.ts';
import { GRANULE, granulesOf, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

const IN_USE = "Bitmap 'b' is currently in use by another operation and cannot be used";
const B = { node: 'source', name: 'b' };
const MERGE_FROM = { node: 'source', target: 'other', bitmaps: ['b'] };
const MERGE_INTO = { node: 'source', target: 'b', bitmaps: ['other'] };

describe('while a mirror works for a bitmap', () => {
  let rig: QmpMirrorRig;
  beforeEach(async () => {
    rig = new QmpMirrorRig({ size: 1 << 20 });
    // Data: zeroes cost nothing of the speed.
    await rig.source.disk.write(0, pattern(1 << 20, 2));
    await rig.addBitmap('b', 1, 2);
    await rig.addBitmap('other', 5);
    await rig.mirror({ bitmap: 'b', speed: 1 });
  });

  it.each([
    ['block-dirty-bitmap-remove', B],
    ['block-dirty-bitmap-clear', B],
    ['block-dirty-bitmap-enable', B],
    ['block-dirty-bitmap-disable', B],
    ['block-dirty-bitmap-merge', MERGE_FROM],
    ['block-dirty-bitmap-merge', MERGE_INTO],
  ] as const)('%s leaves it alone: %j', async (command, given) => {
    const { dispatcher } = rig.monitor;
    await expect(dispatcher.execute(command, given)).rejects.toMatchObject({ message: IN_USE });
  });

  it.each<[string, Qmp<'TransactionAction'>]>([
    ['remove', { type: 'block-dirty-bitmap-remove', data: B }],
    ['clear', { type: 'block-dirty-bitmap-clear', data: B }],
    ['enable', { type: 'block-dirty-bitmap-enable', data: B }],
    ['merge', { type: 'block-dirty-bitmap-merge', data: MERGE_INTO }],
  ])('a transaction that would %s it does nothing at all', async (_what, action) => {
    const clearOther = {
      type: 'block-dirty-bitmap-clear' as const,
      data: { node: 'source', name: 'other' },
    };
    const run = rig.call('transaction', { actions: [clearOther, action] });
    await expect(run).rejects.toThrow(IN_USE);
    expect(granulesOf(rig.source.findBitmap('other')!)).toEqual([5]);
    await rig.call('transaction', { actions: [clearOther] });
    expect(granulesOf(rig.source.findBitmap('other')!)).toEqual([]);
  });

  it('it can be looked at, and a write shows in it', async () => {
    await rig.call('x-debug-block-dirty-bitmap-sha256', B);
    await rig.status('running');
    await expect.poll(async () => (await rig.shown('b'))!.recording).toBe(false);
    await rig.client.node.write(9 * GRANULE, pattern(512, 1));
    // One granule is what such a speed lets through at first.
    expect(granulesOf(rig.source.findBitmap('b')!)).toEqual([2, 9]);
    expect((await rig.shown('b'))!.count).toBe(2 * GRANULE);
  });
});
