import type { Arguments, Qmp } from '../../protocol/qmp/schema.ts';
import type { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import type { NodeUse } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import type { BlockNode } from '../../src/block/node.ts';
import { type MonitorRig, makeMonitorRig } from './monitor-rig.ts';
import { currentScope } from './peers.ts';
import { ShakyNode } from './shaky-node.ts';

export const GRANULE = 65_536;

type Told = MonitorRig['events'][number];

/**
 * A mirror as a QMP client sees it: commands go through the dispatcher, events come back; below are
 * a source with a client on it, and targets, that delay and fail as the test says. Gone with the
 * test.
 */
export class QmpMirrorRig {
  readonly monitor: MonitorRig = makeMonitorRig();
  readonly source: ShakyNode;
  readonly target: ShakyNode;
  /** What an export would hold: requests go to `client.node`. */
  readonly client: NodeUse;
  readonly #watchers = new Set<() => void>();

  constructor(options: { size: number; targetSize?: number; targetReadOnly?: boolean }) {
    const { size, targetSize = size, targetReadOnly: readOnly = false } = options;
    const { graph } = this.monitor.storage;
    this.source = this.addNode('source', new MemoryNode('source', { size }));
    this.target = this.addNode('target', new MemoryNode('target', { size: targetSize, readOnly }));
    this.client = graph.use(this.source, { kind: 'export', name: 'e' }, { writable: true });
    this.monitor.dispatcher.onEvent(() => {
      for (const watcher of this.#watchers) watcher();
    });
    currentScope().onClose(() => this.monitor.close());
  }

  addNode(name: string, disk: BlockNode): ShakyNode {
    const node = new ShakyNode(disk);
    if (node.name !== name) throw new Error(`${node.name} is not ${name}`);
    this.monitor.storage.graph.add(node);
    return node;
  }

  get call() {
    const { dispatcher } = this.monitor;
    return dispatcher.call.bind(dispatcher);
  }

  mirror(given: Partial<Arguments<'blockdev-mirror'>> = {}) {
    return this.call('blockdev-mirror', {
      'job-id': 'm0',
      device: 'source',
      target: 'target',
      sync: 'full',
      ...given,
    });
  }

  /** Adds an enabled bitmap to the source and marks granules in it. */
  async addBitmap(name: string, ...granules: number[]): Promise<DirtyBitmap> {
    await this.call('block-dirty-bitmap-add', { node: 'source', name, granularity: GRANULE });
    const bitmap = this.source.findBitmap(name)!;
    for (const granule of granules) bitmap.set(granule * GRANULE, GRANULE);
    return bitmap;
  }

  /** A bitmap of the source as a query shows it. */
  async shown(name: string): Promise<Qmp<'BlockDirtyInfo'> | undefined> {
    const nodes = await this.call('query-named-block-nodes');
    const source = nodes.find((node) => node['node-name'] === 'source')!;
    return source['dirty-bitmaps']?.find((bitmap) => bitmap.name === name);
  }

  /**
   * Resolves with the first event of this name, from the `from`-th event on, for which `match`
   * holds.
   */
  told(
    name: string,
    match: (data: Record<string, unknown>) => boolean = () => true,
    from = 0,
  ): Promise<Told> {
    return new Promise((resolve) => {
      const look = () => {
        const found = this.monitor.events
          .slice(from)
          .find((one) => one.event === name && match((one.data ?? {}) as Record<string, unknown>));
        if (found === undefined) return;
        this.#watchers.delete(look);
        resolve(found);
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Resolves when the job has this status. */
  async status(status: string, from = 0): Promise<void> {
    await this.told('JOB_STATUS_CHANGE', (data) => data.status === status, from);
  }

  /** Events in short: `S:ready`, `BLOCK_JOB_READY`. */
  get story(): string[] {
    return this.monitor.events.map(({ event, data }) =>
      event === 'JOB_STATUS_CHANGE' ? `S:${(data as { status: string }).status}` : event,
    );
  }
}

/** Granules that are dirty, in order. */
export function granulesOf(bitmap: DirtyBitmap): number[] {
  const granules: number[] = [];
  for (let at = bitmap.nextDirty(0); at !== undefined; ) {
    granules.push(at / bitmap.granularity);
    at = bitmap.nextDirty(at + bitmap.granularity);
  }
  return granules;
}

/** Granules in which two disks differ, byte for byte. */
export async function differing(a: BlockNode, b: BlockNode): Promise<number[]> {
  const granules: number[] = [];
  const [left, right] = [Buffer.alloc(GRANULE), Buffer.alloc(GRANULE)];
  for (let at = 0; at < a.size; at += GRANULE) {
    const length = Math.min(GRANULE, a.size - at);
    await a.read(at, left.subarray(0, length));
    await b.read(at, right.subarray(0, length));
    if (!left.subarray(0, length).equals(right.subarray(0, length))) granules.push(at / GRANULE);
  }
  return granules;
}

function throwEio(): never {
  throw Object.assign(new Error('injected'), { code: 'EIO' });
}

/** At the n-th request of one kind, once: fails it as an I/O error, or does what `act` does. */
export function failNth(
  node: ShakyNode,
  verb: 'read' | 'write',
  nth: number,
  act: () => void = throwEio,
): void {
  let seen = 0;
  node.meddle = (actual) => {
    if (actual === verb && ++seen === nth) act();
  };
}
