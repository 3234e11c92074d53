import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import type { Job } from '../../../src/job/job.ts';
import type { MirrorOptions } from '../../../src/job/start-mirror.ts';
import { type Clock, systemClock, type Timer } from '../../../src/util/clock.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';
import type { ShakyNode } from '../../support/shaky-node.ts';

const JOBS = 1000;
const GRANULE = 65_536;

/** A clock that knows which of its timers have neither run nor been cancelled. */
class CountingClock implements Clock {
  readonly pending = new Set<Timer>();
  now = () => systemClock.now();
  idleMs = () => systemClock.idleMs();
  slept = (ms: number) => systemClock.slept(ms);
  wallMicroseconds = () => systemClock.wallMicroseconds();
  after = (delayMs: number, callback: () => void) =>
    this.#count((run) => systemClock.after(delayMs, run), callback);
  defer = (callback: () => void) => this.#count((run) => systemClock.defer(run), callback);
  hasDeferred = () => systemClock.hasDeferred();
  settle = (callback: () => void) => systemClock.settle(callback);

  #count(start: (run: () => void) => Timer, callback: () => void): Timer {
    const inner = start(() => {
      this.pending.delete(timer);
      callback();
    });
    const timer: Timer = {
      cancel: () => {
        this.pending.delete(timer);
        inner.cancel();
      },
    };
    this.pending.add(timer);
    return timer;
  }
}

function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

/** How many listeners for lost servers the disk has at the moment. */
function countListeners(node: ShakyNode): () => number {
  const watch = node.watchReconnects.bind(node);
  let listening = 0;
  node.watchReconnects = (listener) => {
    listening++;
    const stop = watch(listener);
    return () => {
      listening--;
      return stop();
    };
  };
  return () => listening;
}

it('a thousand jobs, however they end, leave nothing behind', async () => {
  const clock = new CountingClock();
  const rig = new MirrorRig({ size: 4 * GRANULE, clock });
  const { graph, jobs } = rig;
  // A mirror to it fails before it has begun.
  const larger = new MemoryNode('larger', { size: 8 * GRANULE });
  graph.add(larger);
  const listeners = [countListeners(rig.source), countListeners(rig.target)];
  const collect = collector();
  const remains: WeakRef<object>[] = [];
  let [from, to] = [rig.source, rig.target];
  const heaps: number[] = [];

  const settle = async (job: Job, index: number) => {
    await rig.client.node.write((index % 4) * GRANULE, pattern(512, index));
    if (index % 6 === 1) job.cancel({ force: true });
    else if (index % 6 !== 2 && index % 6 !== 5) {
      await rig.ready();
      if (index % 6 === 0) job.cancel({ force: false });
      else if (index % 6 === 3) job.complete();
      else job.cancel({ force: true });
    }
    await job.ended;
    if (index % 6 === 3) [from, to] = [to, from];
  };

  const once = async (index: number) => {
    const options: Partial<MirrorOptions> = {
      source: from,
      target: index % 6 === 5 ? larger : to,
      copyMode: index % 2 === 0 ? 'background' : 'write-blocking',
      speed: index % 3 === 0 ? 1 << 30 : 0,
    };
    // Some of them work for a bitmap, which stays on the node and is used again.
    if (index % 6 > 2 && from.findBitmap('b0') !== undefined) options.bitmap = 'b0';
    if (index === 0) rig.bitmap('b0', [[0, GRANULE]]);
    to.meddle = (verb) => {
      if (index % 6 === 2 && verb !== 'status') {
        throw Object.assign(new Error('no'), { code: 'EIO' });
      }
    };
    const job = rig.mirror(options);
    remains.push(new WeakRef(job), new WeakRef(graph.find('mirror-top')!));
    await settle(job, index);
    to.meddle = from.meddle = () => {};
    for (const kept of [rig.events, from.log, to.log]) kept.length = 0;
  };

  for (let index = 0; index < JOBS; index++) {
    await once(index);
    if (index % 200 === 199) {
      // What a WeakRef was made for stays at least until the turn ends.
      await new Promise((resolve) => setImmediate(resolve));
      collect();
      heaps.push(process.memoryUsage().heapUsed);
    }
  }

  expect(jobs.list()).toEqual([]);
  expect(graph.nodes()).toEqual([rig.source, rig.target, larger]);
  expect(graph.nodes().flatMap((node) => graph.usersOf(node))).toEqual([rig.client]);
  expect(graph.nodes().filter((node) => graph.isBlocked(node))).toEqual([]);
  expect(rig.source.bitmaps.map(({ name, busy, enabled }) => [name, busy, enabled])).toEqual([
    ['b0', false, true],
  ]);
  expect([rig.target, larger].flatMap(({ bitmaps }) => bitmaps)).toEqual([]);
  expect(listeners.map((count) => count())).toEqual([0, 0]);
  expect(clock.pending.size).toBe(0);
  await expect
    .poll(() => {
      collect();
      return remains.filter((one) => one.deref() !== undefined).length;
    })
    .toBe(0);
  // Eight hundred jobs that leave a KiB each would be seen.
  expect(heaps.at(-1)! - heaps[0]!).toBeLessThan(800 * 1024);
});
