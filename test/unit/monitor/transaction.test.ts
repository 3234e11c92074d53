import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Qmp } from '../../../protocol/qmp/schema.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

type Action = Qmp<'TransactionAction'>;

describe('transaction', () => {
  let rig: MonitorRig;
  beforeEach(async () => {
    rig = makeMonitorRig();
    const { dispatcher } = rig;
    await dispatcher.call('blockdev-add', {
      driver: 'x-memory',
      'node-name': 'disk',
      size: 1 << 20,
    });
    await dispatcher.call('block-dirty-bitmap-add', { node: 'disk', name: 'a' });
    await dispatcher.call('block-dirty-bitmap-add', { node: 'disk', name: 'b' });
    bitmap('a')!.set(0, 65536);
    bitmap('b')!.set(131072, 65536);
  });
  afterEach(() => rig.close());

  const bitmap = (name: string) => rig.storage.graph.find('disk')!.findBitmap(name);
  const data = (name: string) => ({ node: 'disk', name });
  const run = (...actions: Action[]) => rig.dispatcher.call('transaction', { actions });
  const abort: Action = { type: 'abort', data: {} };

  it('does all of it: clear and merge hand a bitmap its new content', async () => {
    await run(
      { type: 'block-dirty-bitmap-clear', data: data('a') },
      { type: 'block-dirty-bitmap-merge', data: { node: 'disk', target: 'a', bitmaps: ['b'] } },
    );
    expect([bitmap('a')!.isDirty(0), bitmap('a')!.isDirty(131072)]).toEqual([false, true]);
  });

  it.each<[string, Action]>([
    ['add', { type: 'block-dirty-bitmap-add', data: data('new') }],
    ['remove', { type: 'block-dirty-bitmap-remove', data: data('a') }],
    ['clear', { type: 'block-dirty-bitmap-clear', data: data('a') }],
    ['disable', { type: 'block-dirty-bitmap-disable', data: data('a') }],
    [
      'merge',
      { type: 'block-dirty-bitmap-merge', data: { node: 'disk', target: 'a', bitmaps: ['b'] } },
    ],
  ])('takes %s back when a later action is refused', async (_kind, action) => {
    await expect(run(action, abort)).rejects.toThrow('Transaction aborted using Abort action');
    expect(bitmap('new')).toBeUndefined();
    const a = bitmap('a')!;
    expect([a.enabled, a.count, a.isDirty(0)]).toEqual([true, 65536, true]);
    const { graph } = rig.storage;
    const user = { kind: 'export', name: 'e' } as const;
    const { node } = graph.use(graph.find('disk')!, user, { writable: true });
    await node.write(524288, Buffer.alloc(512, 1));
    expect(a.isDirty(524288)).toBe(true);
  });

  it('leaves nothing of a WRITE on its way in a bitmap that it had enabled', async () => {
    const disk = rig.storage.graph.find('disk')!;
    const received = { writtenBytes: 4096, takenBytes: 0, unwritten: Buffer.alloc(0) };
    Object.assign(disk, { doReceive: () => received });
    await rig.dispatcher.call('block-dirty-bitmap-disable', data('a'));
    const write = { hasEnded: false };
    disk.receive(524288, 8192, { head: Buffer.alloc(0), socket: -1, write });
    const enable: Action = { type: 'block-dirty-bitmap-enable', data: data('a') };
    await expect(run(enable, abort)).rejects.toThrow('aborted');
    expect([bitmap('a')!.enabled, bitmap('a')!.count]).toEqual([false, 65536]);
    await run(enable);
    expect(bitmap('a')!.isDirty(524288)).toBe(true);
  });

  // As recorded from qemu-storage-daemon 10.0.2.
  it.each<[string, Action, string]>([
    [
      'touch it',
      { type: 'block-dirty-bitmap-clear', data: data('a') },
      "Bitmap 'a' is currently in use by another operation and cannot be used",
    ],
    [
      'take its name',
      { type: 'block-dirty-bitmap-add', data: data('a') },
      'Bitmap already exists: a',
    ],
  ])('removes a bitmap last of all: a later action cannot %s', async (_what, action, message) => {
    const removal: Action = { type: 'block-dirty-bitmap-remove', data: data('a') };
    await expect(run(removal, action)).rejects.toThrow(message);
    expect([bitmap('a')!.busy, bitmap('a')!.enabled, bitmap('a')!.count]).toEqual([
      false,
      true,
      65536,
    ]);
    await run(removal);
    expect(bitmap('a')).toBeUndefined();
  });

  it('leaves the order of bitmaps alone when a removal is taken back', async () => {
    await expect(
      run({ type: 'block-dirty-bitmap-remove', data: data('a') }, abort),
    ).rejects.toThrow('aborted');
    const names = rig.storage.graph.find('disk')!.bitmaps.map(({ name }) => name);
    expect(names).toEqual(['a', 'b']);
  });

  it('does not take back an add that was itself refused', async () => {
    await expect(run({ type: 'block-dirty-bitmap-add', data: data('a') })).rejects.toThrow(
      'Bitmap already exists: a',
    );
    expect(bitmap('a')!.count).toBe(65536);
  });

  it('refuses to be grouped', async () => {
    const actions: Action[] = [{ type: 'block-dirty-bitmap-clear', data: data('a') }];
    const properties = { 'completion-mode': 'grouped' } as const;
    await expect(rig.dispatcher.call('transaction', { actions, properties })).rejects.toThrow(
      "Action 'block-dirty-bitmap-clear' does not support transaction property " +
        'completion-mode = grouped',
    );
    expect(bitmap('a')!.count).toBe(65536);
  });
});
