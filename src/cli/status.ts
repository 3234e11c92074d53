import type { Returns } from '../../protocol/qmp/schema.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { systemClock } from '../util/clock.ts';
import { formatBytes } from '../util/units.ts';
import { endWithReader } from './output.ts';
import { QmpClient } from './qmp-client.ts';

/** `status`: what a daemon exports and mirrors, for people, for programs, and as a predicate. */
interface StatusOptions {
  readonly qmp: Endpoint;
  readonly qmpTokenFile?: string;
  readonly json: boolean;
  readonly is?: 'ready' | 'synced';
}

const PREDICATE_FALSE = 2;

type Exports = Returns<'query-block-exports'>;
type Jobs = Returns<'query-block-jobs'>;

export async function status(options: StatusOptions): Promise<void> {
  endWithReader();
  const client = await QmpClient.connect(options.qmp, systemClock, {
    tokenFile: options.qmpTokenFile,
  });
  try {
    const exports = (await client.execute('query-block-exports')) as Exports;
    const jobs = (await client.execute('query-block-jobs')) as Jobs;
    if (options.json) process.stdout.write(`${JSON.stringify({ exports, jobs }, undefined, 2)}\n`);
    else if (options.is === undefined) process.stdout.write(text(exports, jobs));
    if (options.is !== undefined && !holds(options.is, jobs)) process.exitCode = PREDICATE_FALSE;
  } finally {
    client.close();
  }
}

function holds(is: 'ready' | 'synced', jobs: Jobs): boolean {
  if (jobs.length === 0) return false;
  return jobs.every((job) => (is === 'ready' ? job.ready : job['actively-synced']));
}

function text(exports: Exports, jobs: Jobs): string {
  const lines = exports.map((item) => `export ${item.id}: node ${item['node-name']}`);
  for (const job of jobs) {
    lines.push(
      `${job.type} ${job.device}: ${job.status}, ${job['x-copy-mode']}` +
        `${job['actively-synced'] ? ', actively synced' : ''}` +
        `, ${formatBytes(job.offset)} of ${formatBytes(job.len)}` +
        `, ${formatBytes(job['x-dirty-bytes'])} dirty` +
        `${job['io-status'] === 'ok' ? '' : `, stopped by an error (${job['io-status']})`}`,
      ...job['x-warnings'].map((warning) => `  warning: ${warning}`),
    );
  }
  if (lines.length === 0) lines.push('nothing is exported');
  return `${lines.join('\n')}\n`;
}
