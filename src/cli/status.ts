import type { Returns } from '../../protocol/qmp/schema.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { systemClock } from '../util/clock.ts';
import { UsageError } from '../util/errors.ts';
import { formatBytes, formatGuess } from '../util/units.ts';
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

/** What begins with `x-` a daemon of before an upgrade, or QEMU's, may not tell. */
type Ours = `x-${string}`;
type Told<Info> = Omit<Info, Ours> & Partial<Pick<Info, Extract<keyof Info, Ours>>>;
type Job = Told<Returns<'query-block-jobs'>[number]>;

export interface Status {
  readonly exports: Returns<'query-block-exports'>;
  readonly jobs: readonly Job[];
  readonly nodes: Returns<'query-named-block-nodes'>;
}

export async function status(options: StatusOptions): Promise<void> {
  endWithReader();
  const client = await QmpClient.connect(options.qmp, systemClock, {
    tokenFile: options.qmpTokenFile,
  });
  try {
    const now = {
      exports: await client.execute('query-block-exports'),
      jobs: await client.execute('query-block-jobs'),
      nodes: await client.execute('query-named-block-nodes'),
    } as Status;
    if (options.json) process.stdout.write(`${JSON.stringify(now, undefined, 2)}\n`);
    else if (options.is === undefined) process.stdout.write(statusText(now));
    if (options.is !== undefined && !holds(options.is, now)) process.exitCode = PREDICATE_FALSE;
  } finally {
    client.close();
  }
}

/** Throws `UsageError` when it will never hold: whoever waits for it is to stop. */
export function holds(is: 'ready' | 'synced', { jobs, nodes }: Status): boolean {
  const failed = jobs.find(({ error }) => error !== undefined);
  if (failed !== undefined) throw new UsageError(`${failed.device} has failed: ${why(failed)}`);
  if (jobs.length === 0) return false;
  return jobs.every((job) => {
    if (nodeOf(job['x-target'], nodes)?.['x-unreachable'] !== undefined) return false;
    // One that was completed or cancelled keeps nothing equal any more.
    if (is === 'synced') return job.ready && job['actively-synced'];
    // What is paused falls behind, however ready it was.
    return job.ready && !job.paused && job['io-status'] === 'ok';
  });
}

function why({ error, 'x-reason': reason }: Job): string {
  return reason === undefined ? `${error}` : `${error}: ${reason}`;
}

type Node = Status['nodes'][number];

/** A line for each export and mirror; below it, indented, what is wrong with it. */
export function statusText({ exports, jobs, nodes }: Status): string {
  const lines: string[] = [];
  for (const item of exports) {
    const node = nodeOf(item['node-name'], nodes);
    lines.push(exportLine(item, node));
    const unreachable = node?.['x-unreachable'];
    if (unreachable !== undefined) lines.push(`  disk out of reach: ${unreachable}`);
  }
  for (const job of jobs) {
    const target = nodeOf(job['x-target'], nodes);
    lines.push(mirrorLine(job, target), ...troubles(job, target).map((trouble) => `  ${trouble}`));
  }
  if (lines.length === 0) lines.push('nothing is exported');
  return `${lines.join('\n')}\n`;
}

function nodeOf(name: string | undefined, nodes: readonly Node[]): Node | undefined {
  return nodes.find((node) => node['node-name'] === name);
}

function exportLine(item: Status['exports'][number], node: Node | undefined): string {
  const file = node === undefined ? '' : ` (${node.file})`;
  const line = `export ${item.id}: node ${item['node-name']}${file}`;
  // A daemon of before an upgrade does not tell.
  const requests: (typeof item)['x-requests'] | undefined = item['x-requests'];
  if (requests === undefined) return line;
  const { reads, writes, errors } = requests;
  const clients = item['x-clients'].length;
  return [
    line,
    `${clients} ${clients === 1 ? 'client' : 'clients'}`,
    `${formatBytes(requests['read-bytes'])} in ${reads} reads`,
    `${formatBytes(requests['written-bytes'])} in ${writes} writes`,
    ...(errors === 0 ? [] : [`${errors} failed`]),
    ...(item['shutting-down'] ? ['shutting down'] : []),
  ].join(', ');
}

function mirrorLine(job: Job, target: Node | undefined): string {
  const to = target === undefined ? '' : ` to ${target['node-name']} (${target.file})`;
  const { 'x-copy-mode': mode, 'x-dirty-bytes': dirtyBytes } = job;
  const { 'x-copy-rate': rate = 0, 'x-seconds-left': secondsLeft } = job;
  return [
    `${job.type} ${job.device}${to}: ${job.status}`,
    ...(mode === undefined ? [] : [mode]),
    ...(job['actively-synced'] ? ['actively synced'] : []),
    `${formatBytes(job.offset)} of ${formatBytes(job.len)}`,
    ...(dirtyBytes === undefined ? [] : [`${formatBytes(dirtyBytes)} dirty`]),
    ...(rate === 0 ? [] : [`${formatBytes(rate)}/s`]),
    ...(secondsLeft === undefined ? [] : [`about ${formatGuess(secondsLeft)} left`]),
  ].join(', ');
}

/** What is wrong with a mirror, what that means for clients, and what to type. */
function troubles(job: Job, target: Node | undefined): string[] {
  const { device: id } = job;
  const unreachable = target?.['x-unreachable'];
  return [
    ...(job.error === undefined ? [] : [`failed: ${why(job)}`]),
    ...(job.status === 'concluded' ? [`it stays until job-dismiss id=${id}`] : []),
    ...(job.status === 'pending'
      ? [`client writes wait for job-finalize id=${id}, or job-cancel id=${id}`]
      : []),
    ...(job['io-status'] === 'ok'
      ? []
      : [`stopped by an error (${job['io-status']}): job-resume id=${id} tries again`]),
    ...(unreachable === undefined ? [] : [`target out of reach: ${unreachable}`]),
    ...(unreachable === undefined || !waitsForTarget(job) ? [] : [givesUp(job)]),
    ...(job['x-warnings'] ?? []).map((warning) => `warning: ${warning}`),
  ];
}

/** One that an error has stopped leaves its target alone. */
function waitsForTarget({ status, 'io-status': ioStatus }: Job): boolean {
  return status !== 'concluded' && ioStatus === 'ok';
}

function givesUp({ device: id, 'x-copy-mode': mode }: Job): string {
  const who = mode === 'write-blocking' ? 'client writes wait for it' : 'the mirror waits for it';
  return `${who}: job-cancel id=${id} gives the mirror up`;
}
