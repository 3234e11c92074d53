import { afterEach, describe, expect, it, vi } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { NodeStore } from '../../../src/block/node-store.ts';
import { loadSyscalls } from '../../../src/sys/syscalls.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { silentLog } from '../../../src/util/log.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

function makeStore() {
  const graph = new BlockGraph();
  const log = { ...silentLog };
  const syscalls = loadSyscalls({ ffi: true, log });
  const host = { syscalls, clock: systemClock, log, findThrottleGroup: () => undefined };
  return { graph, log, nodes: new NodeStore(graph, host) };
}

const memory = { driver: 'x-memory', size: 512 } as const;

describe('a node that was opened for a job', () => {
  it('is nobody else’s to remove, and gone when the job lets go of it', async () => {
    const { graph, nodes } = makeStore();
    const node = await nodes.open({ ...memory, 'node-name': 'n' });
    const removed = nodes.remove('n');
    await expect(removed).rejects.toThrow('Node n is not owned by the monitor');
    await nodes.letGo(node);
    expect(graph.find('n')).toBeUndefined();
  });

  it('is the operator’s when somebody uses it by then', async () => {
    const { graph, nodes } = makeStore();
    const node = await nodes.open({ ...memory, 'node-name': 'n' });
    const use = graph.use(node, { kind: 'export', name: 'e' }, { writable: true });
    await nodes.letGo(node);
    expect(graph.find('n')).toBe(node);
    use.release();
    await nodes.remove('n');
    expect(graph.find('n')).toBeUndefined();
  });

  it('is the operator’s when a job or an export works with a bitmap of it', async () => {
    const { graph, nodes } = makeStore();
    const node = await nodes.open({ ...memory, 'node-name': 'n' });
    const bitmap = new DirtyBitmap({ name: 'b', size: node.size, granularity: 512 });
    node.addBitmap(bitmap);
    bitmap.busy = true;
    await nodes.letGo(node);
    expect(graph.find('n')).toBe(node);
    bitmap.busy = false;
    await nodes.remove('n');
    expect(graph.find('n')).toBeUndefined();
  });

  it('is waited for at the end of the process, though it is closing already', async () => {
    const { nodes } = makeStore();
    const node = await nodes.open(memory);
    let end = () => {};
    const closing = new Promise<void>((resolve) => {
      end = resolve;
    });
    vi.spyOn(MemoryNode.prototype, 'close').mockReturnValue(closing);
    const gone = nodes.letGo(node);
    let closed = false;
    const all = nodes.closeAll().then(() => {
      closed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(false);
    end();
    await Promise.all([gone, all]);
    await nodes.letGo(node);
  });
});

describe('the end of the process', () => {
  it('does not wait for one node before it closes the next', async () => {
    const { nodes } = makeStore();
    for (const name of ['a', 'b']) await nodes.add({ ...memory, 'node-name': name });
    let end = () => {};
    const closing = new Promise<void>((resolve) => {
      end = resolve;
    });
    const close = vi.spyOn(MemoryNode.prototype, 'close').mockReturnValue(closing);
    const all = nodes.closeAll();
    await new Promise((resolve) => setImmediate(resolve));
    expect(close).toHaveBeenCalledTimes(2);
    end();
    await all;
  });

  it('closes all nodes, and tells of the first failure', async () => {
    const { graph, nodes } = makeStore();
    for (const name of ['a', 'b']) await nodes.add({ ...memory, 'node-name': name });
    let closed = false;
    const slowly = () =>
      new Promise<void>((resolve) => {
        setTimeout(resolve, 5);
      }).then(() => {
        closed = true;
      });
    const close = vi.spyOn(MemoryNode.prototype, 'close').mockImplementation(slowly);
    close.mockRejectedValueOnce(new Error('no'));
    await expect(nodes.closeAll()).rejects.toThrow('no');
    expect(closed).toBe(true);
    expect(graph.nodes()).toEqual([]);
  });
});

it('a node that cannot be flushed when it is closed is gone, and that is told', async () => {
  const { graph, nodes, log } = makeStore();
  await nodes.add({ ...memory, 'node-name': 'n' });
  vi.spyOn(MemoryNode.prototype, 'close').mockRejectedValue(new BlockError('EIO', 'no'));
  const error = vi.spyOn(log, 'error');
  await nodes.remove('n');
  expect(graph.find('n')).toBeUndefined();
  expect(error).toHaveBeenCalledWith(
    { node: 'n', reason: 'no' },
    'a closed node could not be flushed',
  );
});
