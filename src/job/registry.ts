import type { Clock } from '../util/clock.ts';
import { RefusedError } from '../util/errors.ts';
import { isWellFormedId } from '../util/identifier.ts';
import type { Log } from '../util/log.ts';
import type { Job, JobEvent, JobHost } from './job.ts';

/** All jobs of the process, until they are dismissed. */
export class JobRegistry implements JobHost {
  readonly clock: Clock;
  readonly log: Log;
  readonly #onEvent: (event: JobEvent) => void;
  readonly #jobs = new Map<string, Job>();
  #isClosing = false;

  constructor(options: { clock: Clock; log: Log; onEvent: (event: JobEvent) => void }) {
    this.clock = options.clock;
    this.log = options.log;
    this.#onEvent = options.onEvent;
  }

  find(id: string): Job | undefined {
    return this.#jobs.get(id);
  }

  /** Newest first, as QMP lists them. */
  list(): readonly Job[] {
    return [...this.#jobs.values()].reverse();
  }

  /** Refuses an id that a new job cannot have, and any job at the end of the process. */
  assertAddable(id: string): void {
    if (this.#isClosing) throw new RefusedError('No job is started while the daemon is closing');
    if (!isWellFormedId(id)) throw new RefusedError(`Invalid job ID '${id}'`);
    if (this.#jobs.has(id)) throw new RefusedError(`Job ID '${id}' already in use`);
  }

  add(job: Job): void {
    this.assertAddable(job.id);
    this.#jobs.set(job.id, job);
  }

  /** `quit`: as `cancelAll`, and none is left, nor comes in from here on. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.cancelAll();
    for (const job of this.list()) job.dismiss();
  }

  /** Every job is force-cancelled; resolves when all have ended. */
  async cancelAll(): Promise<void> {
    const jobs = this.list();
    for (const job of jobs) if (job.allows('cancel')) job.cancel({ force: true });
    await Promise.all(jobs.map((job) => job.ended));
  }

  onEvent(event: JobEvent): void {
    this.#onEvent(event);
  }

  onGone(job: Job): void {
    this.#jobs.delete(job.id);
  }
}
