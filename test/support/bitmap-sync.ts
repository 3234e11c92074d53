import { MemoryNode } from '../../src/block/memory-node.ts';
import type { BlockNode } from '../../src/block/node.ts';
import { contents, pattern } from './mirror-rig.ts';
import { failNth, GRANULE, granulesOf, QmpMirrorRig } from './qmp-mirror-rig.ts';

/**
 * The three sync modes that a working bitmap replaces, played through as an operator would: a first
 * mirror that may fail, a second one that recovers while clients write, a third one for the rest.
 *
 *     always      the operator's bitmap is the working bitmap
 *     never       a copy of it is, and is thrown away
 *     on-success  a copy of it is; when the job went well the operator's is cleared and what the
 *                 copy has by then is merged into it, in one transaction
 */
export type SyncMode = 'always' | 'never' | 'on-success';
export type Failure = 'none' | 'cancel in pending' | 'read error' | 'write error';
export type CopyMode = 'background' | 'write-blocking';

/** What a mirror writes to. */
export interface TargetDisk {
  readonly disk: BlockNode;
  /** Makes the disk fail writes by itself, from now on; without it the rig fails one. */
  readonly breakWrites?: () => void;
}

/** Opens a disk of 16 MiB that holds these bytes. */
export type OpenTarget = (name: string, content: Buffer) => Promise<TargetDisk>;

export const DISK_BYTES = 256 * GRANULE;

/** Writes in granules, [first, count]; halves make requests that split granules. */
type Batch = readonly (readonly [first: number, count: number])[];

export const BATCHES: readonly Batch[] = [
  // Dirties 6 granules: 0, 15, 16, 128, 129, 254.
  [
    [0, 1],
    [15.5, 1],
    [128.5, 1],
    [254, 1],
  ],
  // 4 more: 1, 14, 130, 255.
  [
    [1, 1],
    [14.5, 1],
    [129.5, 1],
    [254, 2],
  ],
  // 5 more: 2, 3, 13, 131, 252. None of them is the first, which a failing mirror has copied.
  [
    [1, 3],
    [13.5, 1],
    [130.5, 1],
    [252, 1],
  ],
  // One that was dirty before, and one that never was.
  [
    [0, 1],
    [200, 0.5],
  ],
];

export class BitmapSync {
  readonly rig = new QmpMirrorRig({ size: DISK_BYTES });
  readonly #mode: SyncMode;
  readonly #copyMode: CopyMode;
  readonly #openTarget: OpenTarget;
  #jobs = 0;
  #writes = 0;

  constructor(mode: SyncMode, copyMode: CopyMode, openTarget: OpenTarget = openMemory) {
    this.#mode = mode;
    this.#copyMode = copyMode;
    this.#openTarget = openTarget;
  }

  /** Fills the disk and adds the operator's bitmap. Returns what every target has to begin with. */
  async begin(): Promise<Buffer> {
    await this.rig.source.write(0, pattern(DISK_BYTES, 1));
    await this.rig.addBitmap('b');
    return contents(this.rig.source.disk);
  }

  /** A client's writes; each batch holds bytes of its own. */
  async write(batch: Batch): Promise<void> {
    for (const [first, count] of batch) {
      this.#writes++;
      await this.rig.client.node.write(first * GRANULE, pattern(count * GRANULE, this.#writes + 1));
    }
  }

  /** Dirty granules of the operator's bitmap, as a query counts them. */
  async dirty(): Promise<number> {
    return (await this.rig.shown('b'))!.count / GRANULE;
  }

  dirtyGranules(): number[] {
    return granulesOf(this.rig.source.findBitmap('b')!);
  }

  /**
   * One mirror in the rig's mode, to a target that holds `content`; `atReady` is called then.
   * Resolves with what the target holds when all is over.
   */
  async mirror(
    content: Buffer,
    options: { failure?: Failure; atReady?: (job: RunningMirror) => Promise<void> } = {},
  ): Promise<Buffer> {
    const { failure = 'none', atReady } = options;
    const id = `m${this.#jobs}`;
    const name = `target${this.#jobs++}`;
    const { disk, breakWrites } = await this.#openTarget(name, content);
    const target = this.rig.addNode(name, disk);
    await this.#beforeJob();
    if (failure === 'read error') failNth(this.rig.source, 'read', 2);
    if (failure === 'write error') failNth(target, 'write', 2, breakWrites);
    const from = this.rig.monitor.events.length;
    await this.rig.mirror({
      'job-id': id,
      target: name,
      bitmap: this.working,
      'copy-mode': this.#copyMode,
      // One copy at a time: what is on the target when one fails is known exactly.
      'buf-size': GRANULE,
      'auto-finalize': false,
    });
    const succeeded = failure.endsWith('error')
      ? await this.#fails(from)
      : await this.#ends(id, failure === 'none', from, atReady);
    for (const node of [this.rig.source, target]) node.meddle = () => {};
    await this.#afterJob(succeeded);
    return contents(target.disk);
  }

  /** The bitmap that the job gets. */
  get working(): string {
    return this.#mode === 'always' ? 'b' : 'work';
  }

  async #beforeJob(): Promise<void> {
    if (this.working === 'b') return;
    await this.rig.addBitmap('work');
    await this.#merge('work', 'b');
  }

  async #afterJob(succeeded: boolean): Promise<void> {
    if (this.working === 'b') return;
    if (this.#mode === 'on-success' && succeeded) {
      await this.rig.call('transaction', {
        actions: [
          { type: 'block-dirty-bitmap-clear', data: { node: 'source', name: 'b' } },
          {
            type: 'block-dirty-bitmap-merge',
            data: { node: 'source', target: 'b', bitmaps: ['work'] },
          },
        ],
      });
    }
    await this.rig.call('block-dirty-bitmap-remove', { node: 'source', name: 'work' });
  }

  #merge(target: string, source: string) {
    return this.rig.call('block-dirty-bitmap-merge', {
      node: 'source',
      target,
      bitmaps: [source],
    });
  }

  async #fails(from: number): Promise<false> {
    const end = await this.rig.told('BLOCK_JOB_COMPLETED', () => true, from);
    await this.rig.status('null', from);
    if ((end.data as { error?: string }).error !== 'Input/output error') {
      throw new Error(`the mirror ended otherwise: ${JSON.stringify(end)}`);
    }
    return false;
  }

  async #ends(
    id: string,
    finalizes: boolean,
    from: number,
    atReady?: (job: RunningMirror) => Promise<void>,
  ): Promise<boolean> {
    const ready = await this.rig.told('BLOCK_JOB_READY', () => true, from);
    await atReady?.({ id, ready: ready.data as RunningMirror['ready'] });
    await this.rig.call('block-job-cancel', { device: id });
    await this.rig.told('BLOCK_JOB_PENDING', (data) => data.id === id, from);
    if (finalizes) await this.rig.call('job-finalize', { id });
    else await this.rig.call('job-cancel', { id });
    const name = finalizes ? 'BLOCK_JOB_COMPLETED' : 'BLOCK_JOB_CANCELLED';
    await this.rig.told(name, (data) => data.error === undefined, from);
    await this.rig.status('null', from);
    return finalizes;
  }
}

export interface RunningMirror {
  readonly id: string;
  /** What BLOCK_JOB_READY said. */
  readonly ready: { readonly len: number; readonly offset: number };
}

async function openMemory(name: string, content: Buffer): Promise<TargetDisk> {
  const disk = new MemoryNode(name, { size: content.length });
  await disk.write(0, content);
  return { disk };
}
