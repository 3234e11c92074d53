import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

describe('bitmap commands', () => {
  let rig: MonitorRig;
  beforeEach(async () => {
    rig = makeMonitorRig();
    await rig.dispatcher.call('blockdev-add', {
      driver: 'x-memory',
      'node-name': 'disk',
      size: 1 << 20,
    });
  });
  afterEach(() => rig.close());

  const bitmap = (name: string) => rig.storage.graph.find('disk')!.findBitmap(name)!;
  const named = (name: string) => ({ node: 'disk', name });
  const write = (offset: number) =>
    rig.storage.graph.find('disk')!.write(offset, Buffer.from('data'));
  const shown = async () =>
    (await rig.dispatcher.call('query-named-block-nodes'))[0]!['dirty-bitmaps'];

  it('record what is written while they are enabled', async () => {
    await rig.dispatcher.call('block-dirty-bitmap-add', { ...named('b'), granularity: 4096 });
    await rig.dispatcher.call('block-dirty-bitmap-add', { ...named('off'), disabled: true });
    await write(5000);
    expect(await shown()).toEqual([
      expect.objectContaining({ name: 'off', recording: false, count: 0, granularity: 65536 }),
      expect.objectContaining({ name: 'b', recording: true, count: 4096, granularity: 4096 }),
    ]);
    await rig.dispatcher.call('block-dirty-bitmap-disable', named('b'));
    await rig.dispatcher.call('block-dirty-bitmap-enable', named('off'));
    await write(50_000);
    expect([bitmap('b').count, bitmap('off').count]).toEqual([4096, 65536]);
    await rig.dispatcher.call('block-dirty-bitmap-clear', named('b'));
    expect(bitmap('b').count).toBe(0);
    await rig.dispatcher.call('block-dirty-bitmap-remove', named('b'));
    expect((await shown())!.length).toBe(1);
  });

  it('merge all of the sources or none', async () => {
    for (const name of ['a', 'b', 'target']) {
      await rig.dispatcher.call('block-dirty-bitmap-add', { ...named(name), granularity: 512 });
    }
    bitmap('a').set(0, 1);
    bitmap('b').set(1024, 1);
    const merge = (...bitmaps: string[]) =>
      rig.dispatcher.call('block-dirty-bitmap-merge', { node: 'disk', target: 'target', bitmaps });
    await merge();
    await expect(merge('a', 'none')).rejects.toThrow("Dirty bitmap 'none' not found");
    bitmap('b').busy = true;
    await expect(merge('a', 'b')).rejects.toThrow("Bitmap 'b' is currently in use");
    expect(bitmap('target').count).toBe(0);
    bitmap('b').busy = false;
    await merge('a', 'b', 'target');
    expect(bitmap('target').count).toBe(1024);
  });

  it('merge only what covers as much', async () => {
    await rig.dispatcher.call('blockdev-add', {
      driver: 'x-memory',
      'node-name': 'small',
      size: 512,
    });
    await rig.dispatcher.call('block-dirty-bitmap-add', named('b'));
    await rig.dispatcher.call('block-dirty-bitmap-add', { node: 'small', name: 's' });
    const merge = rig.dispatcher.call('block-dirty-bitmap-merge', {
      node: 'disk',
      target: 'b',
      bitmaps: [{ node: 'small', name: 's' }],
    });
    await expect(merge).rejects.toThrow(
      'Bitmaps are of different sizes (destination size is 1048576, ' +
        "source size is 512) and can't be merged",
    );
  });

  it('keep away from what is busy, read-only or inconsistent, as far as each must', async () => {
    await rig.dispatcher.call('block-dirty-bitmap-add', named('b'));
    const outcome = async (what: 'remove' | 'clear' | 'enable' | 'disable') =>
      rig.dispatcher.call(`block-dirty-bitmap-${what}`, named('b')).then(
        () => 'done',
        (error: Error) => error.message,
      );
    const outcomes = async () => [
      await outcome('clear'),
      await outcome('enable'),
      await outcome('disable'),
    ];
    const busy = "Bitmap 'b' is currently in use by another operation and cannot be used";
    const readOnly = "Bitmap 'b' is readonly and cannot be modified";
    const inconsistent = "Bitmap 'b' is inconsistent and cannot be used";
    bitmap('b').readOnly = true;
    expect(await outcomes()).toEqual([readOnly, 'done', 'done']);
    expect(await outcome('remove')).toBe(readOnly);
    bitmap('b').readOnly = false;
    bitmap('b').inconsistent = true;
    expect(await outcomes()).toEqual([inconsistent, inconsistent, inconsistent]);
    bitmap('b').busy = true;
    expect(await outcomes()).toEqual([busy, busy, busy]);
    expect(await outcome('remove')).toBe(busy);
    bitmap('b').busy = false;
    expect(await outcome('remove')).toBe('done');
  });
});
