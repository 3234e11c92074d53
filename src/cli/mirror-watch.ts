import type { Returns } from '../../protocol/qmp/schema.ts';
import type { Daemon } from '../daemon/daemon.ts';
import { systemClock } from '../util/clock.ts';
import { JobTimes } from './job-times.ts';
import { ProgressLine, progressText } from './progress.ts';

/** Shows how the mirrors of a daemon are doing, on stderr, until it is stopped. */
const INTERVAL_MS = 250;

export type BlockJob = Returns<'query-block-jobs'>[number];

export class MirrorWatch {
  readonly line = new ProgressLine(process.stderr, () => performance.now());
  readonly #daemon: Daemon;
  readonly #times = new JobTimes(() => performance.now());
  readonly #stopEvents: () => void;
  #running = true;

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
    this.#stopEvents = daemon.dispatcher.onEvent(({ event, data }) => {
      const told = data as Record<string, unknown>;
      if (event === 'JOB_STATUS_CHANGE') {
        this.#times.note(String(told['id']), String(told['status']));
      }
      const text = this.#describe(event, told);
      if (text !== undefined) this.line.print(text);
    });
    void this.#loop();
  }

  stop(): void {
    this.#running = false;
    this.#stopEvents();
    this.line.end();
  }

  async #loop(): Promise<void> {
    while (this.#running) {
      const asked = this.#daemon.dispatcher.call('query-block-jobs');
      // Refused when the process is ending.
      const jobs = await asked.catch(() => undefined);
      if (jobs === undefined || !this.#running) return;
      if (jobs.length > 0) {
        const texts = jobs.map((job) => this.#text(job));
        this.line.show(texts.join(' | '), jobs.map(newsOf).join(' | '));
      }
      await new Promise<void>((resolve) => {
        systemClock.after(INTERVAL_MS, resolve);
      });
    }
  }

  #text(job: BlockJob): string {
    return progressText({
      id: job.device,
      transferredBytes: job.offset,
      totalBytes: job.len,
      dirtyBytes: job['x-dirty-bytes'],
      bytesPerSecond: job['x-copy-rate'],
      secondsLeft: job['x-seconds-left'],
      status: statusOf(job),
      elapsedSeconds: this.#times.seconds(job.device),
    });
  }

  /** What an operator wants to see as a line that stays. */
  #describe(event: string, data: Record<string, unknown>): string | undefined {
    switch (event) {
      case 'BLOCK_JOB_READY':
        return `${data['device']}: ready`;
      case 'BLOCK_JOB_ERROR':
        return `${data['device']}: ${data['x-reason']} (${data['action']})`;
      case 'BLOCK_JOB_CANCELLED':
        return `${data['device']}: cancelled`;
      case 'BLOCK_JOB_COMPLETED':
        if (data['error'] !== undefined) return `${data['device']}: failed: ${data['error']}`;
        return progressText({
          id: String(data['device']),
          transferredBytes: Number(data['offset']),
          totalBytes: Number(data['len']),
          dirtyBytes: 0,
          bytesPerSecond: 0,
          status: 'completed',
          elapsedSeconds: this.#times.seconds(String(data['device'])),
        });
      default:
        return undefined;
    }
  }
}

function statusOf(job: BlockJob): string {
  // It stays until somebody has seen it.
  if (job.error !== undefined) return 'failed';
  return job['actively-synced'] ? 'actively synced' : job.status;
}

/** What has changed when it has: once it is READY a mirror may follow its source for months. */
export function newsOf(job: BlockJob): string {
  return `${statusOf(job)} ${job.ready ? '' : job.offset}`;
}
