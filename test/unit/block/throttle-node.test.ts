import { describe, expect, it } from 'vitest';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { RawNode } from '../../../src/block/raw-node.ts';
import { ThrottleGroup } from '../../../src/block/throttle-group.ts';
import type { ThrottleLimits } from '../../../src/block/throttle-limits.ts';
import { ThrottleNode } from '../../../src/block/throttle-node.ts';
import { FakeClock } from '../../support/fake-clock.ts';

function rig(limits: ThrottleLimits) {
  const clock = new FakeClock();
  const graph = new BlockGraph();
  const disk = new MemoryNode('disk0', { size: 1 << 20 });
  const group = new ThrottleGroup('tg', limits, clock);
  const use = graph.use(disk, { kind: 'node', name: 't0' }, { writable: true });
  return { clock, graph, group, node: new ThrottleNode('t0', use, group) };
}
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('a throttle node', () => {
  it('lets flushes and questions pass when nothing else may', async () => {
    const { node } = rig({ 'iops-total': 1 });
    await node.write(0, Buffer.alloc(512));
    let written = false;
    const waiting = Promise.resolve(node.write(0, Buffer.alloc(512))).then(() => {
      written = true;
    });
    await node.flush();
    await node.blockStatus(0, 512, 1);
    expect(written).toBe(false);
    node.hurry();
    await waiting;
  });

  it.each([
    ['reads', (node: ThrottleNode) => node.read(0, Buffer.alloc(100))],
    ['writes', (node: ThrottleNode) => node.write(0, Buffer.alloc(100))],
    ['zeroes', (node: ThrottleNode) => node.writeZeroes(0, 100)],
    ['discards', (node: ThrottleNode) => node.discard(0, 100)],
  ])('holds %s back by their length', async (_what, request) => {
    const { clock, node } = rig({ 'bps-read': 100, 'bps-write': 100 });
    await request(node);
    let ended = false;
    const second = Promise.resolve(request(node)).then(() => {
      ended = true;
    });
    clock.advance(899);
    await settle();
    expect(ended).toBe(false);
    clock.advance(1);
    await second;
  });

  it('fails what waits with ECANCELED when told to let go', async () => {
    const { node } = rig({ 'iops-total': 1 });
    await node.write(0, Buffer.alloc(1));
    const waiting = node.write(0, Buffer.alloc(1));
    node.cancelInFlight();
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' });
  });

  it('settles without waiting for the limit, also below another node', async () => {
    const { graph, node } = rig({ 'iops-total': 1 });
    const above = new RawNode(
      'raw0',
      graph.use(node, { kind: 'node', name: 'raw0' }, { writable: true }),
    );
    await above.write(0, Buffer.alloc(1));
    const waiting = above.write(0, Buffer.alloc(1, 7));
    await above.settled();
    await waiting;
    const back = Buffer.alloc(1);
    await above.child.child!.read(0, back);
    expect(back[0]).toBe(7);
  });

  it('goes on under another group, and so do those who waited', async () => {
    const { clock, group, node } = rig({ 'iops-total': 1 });
    await node.write(0, Buffer.alloc(1));
    const waiting = node.write(0, Buffer.alloc(1));
    node.moveTo(new ThrottleGroup('free', {}, clock));
    await waiting;
    expect(group.inUse).toBe(false);
    await node.write(0, Buffer.alloc(1));
    expect(node.group.name).toBe('free');
  });

  it('leaves its group when it is closed', async () => {
    const { group, node } = rig({});
    await node.close();
    expect(group.inUse).toBe(false);
  });
});
