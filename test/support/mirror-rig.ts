import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { BlockGraph, type NodeUse } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import type { BlockNode } from '../../src/block/node.ts';
import type { JobEvent } from '../../src/job/job.ts';
import type { MirrorJob } from '../../src/job/mirror-job.ts';
import { JobRegistry } from '../../src/job/registry.ts';
import { type MirrorOptions, startMirror } from '../../src/job/start-mirror.ts';
import { assert } from '../../src/util/assert.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import type { FileBytes } from '../../src/util/file-bytes.ts';
import { type Log, silentLog } from '../../src/util/log.ts';
import { ShakyNode } from './shaky-node.ts';

/** A source, a target, a client's use of the source, and the jobs between them. */
export class MirrorRig {
  readonly graph = new BlockGraph();
  readonly source: ShakyNode;
  readonly target: ShakyNode;
  /** What an export would hold: requests go to `client.node`. */
  readonly client: NodeUse;
  readonly events: JobEvent[] = [];
  readonly jobs: JobRegistry;
  #watchers = new Set<() => void>();

  constructor(options: { size: number; targetSize?: number; clock?: Clock; log?: Log }) {
    this.source = new ShakyNode(new MemoryNode('source', { size: options.size }));
    this.target = new ShakyNode(
      new MemoryNode('target', { size: options.targetSize ?? options.size }),
    );
    this.graph.add(this.source);
    this.graph.add(this.target);
    this.client = this.graph.use(this.source, { kind: 'export', name: 'e' }, { writable: true });
    this.jobs = new JobRegistry({
      clock: options.clock ?? systemClock,
      log: options.log ?? silentLog,
      onEvent: (event) => {
        this.events.push(event);
        for (const watcher of this.#watchers) watcher();
      },
    });
  }

  mirror(options: Partial<MirrorOptions> = {}): MirrorJob {
    return startMirror(this.jobs, this.graph, {
      id: 'mirror0',
      source: this.source,
      target: this.target,
      sync: 'full',
      filterNodeName: 'mirror-top',
      ...options,
    });
  }

  /**
   * The source offers its bytes unread, as a page cache does; the target takes them so. `onSend`
   * comes first, and may let them fail.
   */
  offerFileBytes(onSend: (offset: number, bytes: FileBytes) => void): void {
    const { source, target } = this;
    target.takesFile = () => true;
    source.fileBytes = (offset, length) => ({
      length,
      failure: undefined,
      sendTo: () => 0,
      read: (start, buffer) => source.disk.read(offset + start, buffer),
      end() {},
    });
    target.writeFile = async (offset, bytes) => {
      onSend(offset, bytes);
      const data = Buffer.alloc(bytes.length);
      if (bytes.failure === undefined) await bytes.read(0, data);
      await target.disk.write(offset, data);
    };
  }

  /** Adds an enabled bitmap to the source and marks ranges in it. */
  bitmap(name: string, dirty: [offset: number, length: number][] = []): DirtyBitmap {
    const bitmap = new DirtyBitmap({ name, size: this.source.size, granularity: 65536 });
    this.source.addBitmap(bitmap);
    for (const [offset, length] of dirty) bitmap.set(offset, length);
    return bitmap;
  }

  /** Resolves when an event of this kind has been told (also in the past). */
  event(name: JobEvent['name'], matches: (event: JobEvent) => boolean = () => true) {
    return new Promise<JobEvent>((resolve) => {
      const look = () => {
        const found = this.events.find((event) => event.name === name && matches(event));
        if (found === undefined) return;
        this.#watchers.delete(look);
        resolve(found);
      };
      this.#watchers.add(look);
      look();
    });
  }

  ready(): Promise<JobEvent> {
    return this.event('BLOCK_JOB_READY');
  }

  /** Events in short: `S:ready`, `BLOCK_JOB_READY`. */
  get story(): string[] {
    return this.events.map((event) =>
      event.name === 'JOB_STATUS_CHANGE' ? `S:${event.data.status}` : event.name,
    );
  }
}

export async function contents(node: BlockNode): Promise<Buffer> {
  const buffer = Buffer.alloc(node.size);
  await node.read(0, buffer);
  return buffer;
}

/** Whether two disks hold the same bytes, whatever meddles with them. */
export async function areEqual(a: ShakyNode, b: ShakyNode): Promise<boolean> {
  return (await contents(a.disk)).equals(await contents(b.disk));
}

/** Whatever was written to a disk was whole units, or ended with the disk. */
export function expectWholeUnits(node: ShakyNode, unitBytes: number): void {
  for (const entry of node.log) {
    const [, offset, length] = /^(?:write|zero) (\d+)\+(\d+)$/.exec(entry)?.map(Number) ?? [];
    if (offset === undefined || length === undefined) continue;
    const end = offset + length;
    const isWhole = offset % unitBytes === 0 && (end % unitBytes === 0 || end === node.size);
    assert(isWhole, `${entry} is whole units of ${unitBytes} bytes`);
  }
}

/** Bytes that differ from zero and from each other, to tell writes apart. */
export function pattern(length: number, seed: number): Buffer {
  const data = Buffer.alloc(length);
  for (let at = 0; at < length; at++) data[at] = 1 + ((seed * 31 + at * 7) % 255);
  return data;
}
