import type { Clock } from '../util/clock.ts';
import type { JobStatus } from './status.ts';

/**
 * How long a mirror needs until nothing is left to copy, by how fast that has become less of late:
 * what clients write meanwhile, a speed limit, rests and zeroes are in it by themselves. A guess is
 * worth telling only while it is one: not before there is some history, not of what stands still,
 * waits or does not converge, and not of what is READY, which has no end.
 */
const SAMPLE_MS = 1000;
const MEAN_MS = 15_000;
const HISTORY_MS_MIN = 5000;
const STALL_MS = 10_000;
const SECONDS_MAX = 100 * 3600;

/** What is looked at of a job. */
export interface Progress {
  readonly status: JobStatus;
  readonly userPaused: boolean;
  readonly progressCurrent: number;
  readonly progressTotal: number;
}

interface History {
  readonly since: number;
  /** At the last sample, in milliseconds of the clock. */
  at: number;
  leftBytes: number;
  /** When it last became less. */
  fellAt: number;
  /** Bytes per millisecond: a mean in which a sample counts for less the older it is, */
  mean: number;
  /** and how much all of them count for: less than 1 while there are few. */
  weight: number;
}

export class TimeLeft {
  readonly #clock: Clock;
  #history: History | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whatever was may not be again. */
  forget(): void {
    this.#history = undefined;
  }

  /** Costs a comparison unless a second has passed. */
  note({ progressCurrent, progressTotal }: Progress): void {
    const now = this.#clock.now();
    const leftBytes = progressTotal - progressCurrent;
    const history = this.#history;
    if (history === undefined) {
      this.#history = { since: now, at: now, leftBytes, fellAt: now, mean: 0, weight: 0 };
      return;
    }
    const passedMs = now - history.at;
    if (passedMs < SAMPLE_MS) return;
    const fellBytes = history.leftBytes - leftBytes;
    const share = 1 - Math.exp(-passedMs / MEAN_MS);
    history.mean += (fellBytes / passedMs - history.mean) * share;
    history.weight += (1 - history.weight) * share;
    if (fellBytes > 0) history.fellAt = now;
    history.at = now;
    history.leftBytes = leftBytes;
  }

  /** Undefined where it cannot be known. `target`: what is copied to. */
  seconds(job: Progress, target: { readonly unreachable: string | undefined }): number | undefined {
    if (this.#history === undefined || job.status !== 'running' || job.userPaused) return undefined;
    if (target.unreachable !== undefined) return undefined;
    this.note(job);
    const { since, fellAt, mean, weight } = this.#history;
    const now = this.#clock.now();
    if (now - since < HISTORY_MS_MIN || now - fellAt > STALL_MS) return undefined;
    const leftBytes = job.progressTotal - job.progressCurrent;
    const seconds = Math.ceil((leftBytes * weight) / mean / 1000);
    // Negative, or infinite, where it does not converge.
    return seconds > 0 && seconds <= SECONDS_MAX ? seconds : undefined;
  }
}
