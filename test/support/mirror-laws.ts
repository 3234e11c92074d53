import type { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import type { BlockGraph } from '../../src/block/graph.ts';
import type { MirrorTop } from '../../src/block/mirror-top.ts';
import type { DiskRange } from '../../src/block/node.ts';
import type { MirrorJob } from '../../src/job/mirror-job.ts';
import type { VolatileNode } from './volatile-node.ts';

const SECTOR_BYTES = 512;
const CHUNK_BYTES = 128 * SECTOR_BYTES;

export interface Watched {
  readonly graph: BlockGraph;
  readonly source: VolatileNode;
  readonly target: VolatileNode;
  readonly job: MirrorJob;
  /** Requests of clients that have not been answered. */
  readonly unanswered: ReadonlySet<DiskRange>;
  /** A caller's bitmap: all dirty at first, so the laws hold from the first instant on. */
  readonly hasCallersBitmap: boolean;
}

/**
 * What must be true of a mirror whenever somebody looks ("What must always be true" in
 * docs/ARCHITECTURE.md), and when it has ended. Tells of what is not in `breaches`, each once.
 */
export class MirrorLaws {
  readonly #breaches = new Set<string>();
  readonly #watched: Watched;
  readonly #top: MirrorTop;
  readonly #bitmap: DirtyBitmap;
  #offset = 0;
  #begun: boolean;
  /** How often the target had crashed when the job was last seen actively synced. */
  #syncedAfterCrashes: number | undefined;

  constructor(watched: Watched, top: MirrorTop) {
    this.#watched = watched;
    this.#top = top;
    this.#bitmap = top.dirty.bitmap;
    this.#begun = watched.hasCallersBitmap;
  }

  get breaches(): readonly string[] {
    return [...this.#breaches];
  }

  broken(what: string): void {
    this.#breaches.add(what);
  }

  /** At any time. */
  look(): void {
    const { job, hasCallersBitmap } = this.#watched;
    this.#lookAtBusy();
    if (job.status === 'concluded' || job.status === 'null') return;
    this.#lookAtProgress();
    if (!hasCallersBitmap && job.isReady) this.#begun = true;
    if (!this.#isFiltering) return;
    this.#lookAtSync();
    if (this.#begun) this.#lookAtContents();
  }

  /** Clients are held back: what is on the target's disk now is what the end promises. */
  lookAtPending(): void {
    const { source, target } = this.#watched;
    for (const { offset } of differences(source.current, target.durable)) {
      this.broken(`pending: what the source has at ${offset} is not on the target's disk`);
      return;
    }
  }

  /** In the instant in which the job has concluded, and later. `pivots`: the clients moved. */
  lookAtEnd(pivots: boolean): void {
    const { hasCallersBitmap } = this.#watched;
    if (this.#isFiltering) this.broken('end: the filter is still there');
    if (!hasCallersBitmap || pivots) return;
    if (this.#bitmap.busy) this.broken('end: the bitmap is busy');
    if (!this.#bitmap.enabled) this.broken('end: the bitmap does not record');
    this.#lookAtDurable();
  }

  /** Nobody is left. */
  lookAtRest(): void {
    const { lock, writesInFlight } = this.#top;
    const claims = lock.held + lock.waiting;
    if (claims > 0) this.broken(`rest: ${lock.held} ranges are held, ${lock.waiting} waited for`);
    if (writesInFlight > 0) this.broken(`rest: ${writesInFlight} writes are in flight`);
  }

  get #isFiltering(): boolean {
    return this.#watched.graph.find(this.#top.name) !== undefined;
  }

  /** Law 6. */
  #lookAtBusy(): void {
    const { writesInFlight } = this.#top;
    if (this.#bitmap.busy || writesInFlight === 0) return;
    this.broken(`not busy any more, but ${writesInFlight} writes have not ended`);
  }

  #lookAtProgress(): void {
    const { job } = this.#watched;
    const { progressCurrent: offset, progressTotal: length, status } = job;
    const dirtyBytes = job.query()['x-dirty-bytes'];
    if (offset < this.#offset) this.broken(`offset fell from ${this.#offset} to ${offset}`);
    if (offset > length) this.broken(`offset ${offset} is above len ${length} (${status})`);
    if (dirtyBytes < 0) this.broken(`${dirtyBytes} bytes are dirty (${status})`);
    this.#offset = offset;
  }

  /** Law 5. */
  #lookAtSync(): void {
    const { job, source, target } = this.#watched;
    const { crashes } = target;
    const { 'actively-synced': isSynced, 'x-dirty-bytes': dirtyBytes } = job.query();
    if (isSynced && (!this.#bitmap.isClean || dirtyBytes > 0)) {
      this.broken(`actively synced, and ${dirtyBytes} bytes are dirty (${job.status})`);
    }
    // Nobody here knows when a failure is told; a job that is given up copies no more.
    const mayEnd = source.failures + target.failures > 0 || job.forceCancelled;
    if (crashes === this.#syncedAfterCrashes && !isSynced && !mayEnd) {
      this.broken(`not synced any more, without an error (${job.status})`);
    }
    this.#syncedAfterCrashes = isSynced ? crashes : undefined;
  }

  /** Laws 1 and 3. */
  #lookAtContents(): void {
    const { source, target, job } = this.#watched;
    for (const sector of differences(source.current, target.current)) {
      if (this.#top.dirty.isDirty(sector.offset)) continue;
      if (isTouched(sector, this.#watched.unanswered)) continue;
      if (isTouched(sector, this.#top.lock.ranges())) continue;
      this.broken(`${sector.offset} differs, is clean and belongs to nobody (${job.status})`);
      return;
    }
  }

  /** The target's host may lose its power now: who goes on with the bitmap misses nothing. */
  #lookAtDurable(): void {
    const { source, target, unanswered } = this.#watched;
    for (const sector of differences(source.current, target.durable)) {
      if (this.#bitmap.isDirty(sector.offset) || isTouched(sector, unanswered)) continue;
      this.broken(`end: ${sector.offset} is clean, and not on the target's disk`);
      return;
    }
  }
}

/** Sectors in which two disks differ. */
function* differences(one: Buffer, other: Buffer): Generator<DiskRange> {
  const differ = (from: number, to: number) => one.compare(other, from, to, from, to) !== 0;
  for (let chunk = 0; chunk < one.length; chunk += CHUNK_BYTES) {
    const chunkEnd = Math.min(chunk + CHUNK_BYTES, one.length);
    if (!differ(chunk, chunkEnd)) continue;
    for (let offset = chunk; offset < chunkEnd; offset += SECTOR_BYTES) {
      const end = Math.min(offset + SECTOR_BYTES, chunkEnd);
      if (differ(offset, end)) yield { offset, length: end - offset };
    }
  }
}

function isTouched(sector: DiskRange, ranges: Iterable<DiskRange>): boolean {
  for (const { offset, length } of ranges) {
    if (offset < sector.offset + sector.length && sector.offset < offset + length) return true;
  }
  return false;
}
