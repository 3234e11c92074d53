import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { CopyMode } from '../block/mirror-top.ts';
import type { BlockNode } from '../block/node.ts';
import { BlockError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';

/**
 * What may go wrong with a caller's bitmap and can be seen coming: parts of clusters that are
 * written to an image with nothing behind it yet. Nobody tells us of clusters or of base images, so
 * these are warnings, in the log and in the job's queries, and never a reason to refuse.
 */
const QUESTIONS_MAX = 16;
const EXTENTS_MAX = 64;

const REMEDY = 'if it is an image that gets its base image later, give x-target-cluster-size';

export class BitmapPitfalls {
  readonly #bitmap: DirtyBitmap;
  readonly #target: BlockNode;
  readonly #log: Log;
  /** A caller's bitmap, and nobody has told the size of clusters. */
  readonly #concerns: boolean;
  readonly #warnings = new Map<'hole' | 'preferred' | 'mode', string>();
  #ended = false;

  constructor(options: {
    bitmap: DirtyBitmap;
    /** 1 when nobody has told. */
    clusterBytes: number;
    target: BlockNode;
    log: Log;
  }) {
    this.#bitmap = options.bitmap;
    this.#target = options.target;
    this.#log = options.log;
    this.#concerns = options.bitmap.name !== undefined && options.clusterBytes === 1;
    const { preferredBytes } = this.#target.limits;
    const copyBytes = Math.max(options.bitmap.granularity, options.clusterBytes);
    // Also when a size was told: it may have been the wrong one.
    if (options.bitmap.name === undefined || preferredBytes <= copyBytes) return;
    this.#warn(
      'preferred',
      `The target prefers blocks of ${preferredBytes} bytes, and copies may be ${copyBytes}: ` +
        `${REMEDY}, or take a bitmap of that granularity`,
    );
  }

  /** Sentences, each of which has been in the log. */
  get warnings(): readonly string[] {
    return [...this.#warnings.values()];
  }

  /** The copy mode that holds from now on. */
  noteMode(mode: CopyMode): void {
    if (!this.#concerns || mode === 'background') return;
    this.#warn(
      'mode',
      'Client writes go to the target as they are (write-blocking), perhaps as parts of its ' +
        `clusters: ${REMEDY}, or use background mode`,
    );
  }

  /**
   * Looks for a hole in the target, beside the job: a few questions at most, whose failure says
   * nothing. A target that was a full copy once has holes only where its source has.
   */
  async look(): Promise<void> {
    if (!this.#concerns) return;
    const { size } = this.#target;
    try {
      for (let at = 0, asked = 0; at < size && asked < QUESTIONS_MAX && !this.#ended; asked++) {
        const extents = await this.#target.blockStatus(at, size - at, EXTENTS_MAX);
        const hole = extents.find((extent) => extent.hole);
        if (hole !== undefined) return this.#warnOfHole(hole.offset);
        const last = extents[extents.length - 1]!;
        at = last.offset + last.length;
      }
    } catch (error) {
      // Who cannot say what is allocated is not warned of.
      if (!(error instanceof BlockError)) throw error;
    }
  }

  /** The job has ended: no more questions. */
  end(): void {
    this.#ended = true;
  }

  #warnOfHole(offset: number): void {
    if (this.#ended) return;
    this.#warn('hole', `The target is not fully allocated (a hole at ${offset}): ${REMEDY}`);
  }

  #warn(what: 'hole' | 'preferred' | 'mode', sentence: string): void {
    if (this.#warnings.has(what)) return;
    this.#warnings.set(what, sentence);
    this.#log.warn({ target: this.#target.name, bitmap: this.#bitmap.name }, sentence);
  }
}
