import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

const COUNT = 10_000;
const GRANULE = 65_536;

describe('ten thousand bitmaps on one node', () => {
  let rig: MonitorRig;
  let node: MemoryNode;
  beforeEach(async () => {
    rig = makeMonitorRig();
    node = new MemoryNode('disk', { size: 1 << 24 });
    rig.storage.graph.add(node);
    for (let index = 0; index < COUNT; index++) await add(index);
  });
  afterEach(() => rig.close());

  const named = (index: number) => ({ node: 'disk', name: `b${index}` });
  const add = (index: number) => rig.dispatcher.call('block-dirty-bitmap-add', named(index));
  const shown = async () => {
    const [disk] = await rig.dispatcher.call('query-named-block-nodes');
    return disk!['dirty-bitmaps'];
  };

  it('are all shown, newest first', async () => {
    const names = (await shown())!.map(({ name }) => name);
    expect(names).toEqual(Array.from({ length: COUNT }, (_, at) => `b${COUNT - 1 - at}`));
    await expect(add(7)).rejects.toThrow('Bitmap already exists: b7');
  });

  it('record every write, as many as are enabled', async () => {
    await node.write(0, Buffer.alloc(1));
    for (let index = 0; index < COUNT; index += 2) {
      await rig.dispatcher.call('block-dirty-bitmap-disable', named(index));
    }
    await node.write(5 * GRANULE, Buffer.alloc(1));
    for (let index = 0; index < COUNT; index++) {
      expect(node.findBitmap(`b${index}`)!.count).toBe(index % 2 === 0 ? GRANULE : 2 * GRANULE);
    }
  });

  it('are cleared in one transaction or not at all, and leave nothing when they go', async () => {
    await node.write(0, Buffer.alloc(1));
    const clear = Array.from({ length: COUNT }, (_, index) => ({
      type: 'block-dirty-bitmap-clear' as const,
      data: named(index),
    }));
    const actions = [...clear, { type: 'abort' as const, data: {} }];
    await expect(rig.dispatcher.call('transaction', { actions })).rejects.toThrow('aborted');
    expect(node.bitmaps.every(({ count }) => count === GRANULE)).toBe(true);
    await rig.dispatcher.call('transaction', { actions: clear });
    expect(node.bitmaps.every(({ isClean }) => isClean)).toBe(true);
    for (let index = 0; index < COUNT; index++) {
      await rig.dispatcher.call('block-dirty-bitmap-remove', named(index));
    }
    expect(await shown()).toBeUndefined();
  });

  it('let one of them work for a mirror while the others go on', async () => {
    const target = new MemoryNode('target', { size: node.size });
    rig.storage.graph.add(target);
    const client = rig.storage.graph.use(node, { kind: 'export', name: 'e' }, { writable: true });
    const told = (name: string) => () => rig.events.some(({ event }) => event === name);
    await rig.dispatcher.call('blockdev-mirror', {
      'job-id': 'm0',
      device: 'disk',
      target: 'target',
      sync: 'full',
      bitmap: 'b5000',
    });
    await expect.poll(told('BLOCK_JOB_READY')).toBe(true);
    await client.node.write(GRANULE, Buffer.from('x'));
    await rig.dispatcher.call('block-job-cancel', { device: 'm0' });
    await expect.poll(told('BLOCK_JOB_COMPLETED')).toBe(true);
    const dirty = node.bitmaps.filter(({ isClean }) => !isClean).length;
    expect([dirty, node.findBitmap('b5000')!.count]).toEqual([COUNT - 1, 0]);
  });
});
