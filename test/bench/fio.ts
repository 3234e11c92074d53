/**
 * Load by fio's own NBD client: a program of others on the client's side, the same for everybody.
 */
import { mustRun } from '../support/process.ts';
import { MiB } from './images.ts';

const RAMP_SECONDS = 0.5;

export interface Load {
  pattern: 'randread' | 'randwrite' | 'randrw' | 'read' | 'write';
  blockSize: number;
  depth: number;
  /** Requests a second, of reads and of writes; as many as possible by default. */
  iopsMax?: number;
}

/**
 * `load` against the export at `uri`, over the first `size` bytes: requests a second once it had
 * begun, and all requests there were.
 */
export async function runLoad(
  uri: string,
  load: Load,
  size: number,
  seconds: number,
): Promise<{ iops: number; requests: number }> {
  const printed = await mustRun('fio', [
    ...['--name=load', '--ioengine=nbd', `--uri=${uri}`, `--rw=${load.pattern}`],
    ...[`--bs=${load.blockSize}`, `--iodepth=${load.depth}`, `--size=${size}`],
    ...['--time_based', `--runtime=${seconds}`, `--ramp_time=${RAMP_SECONDS}`, '--randrepeat=0'],
    ...['--norandommap', '--refill_buffers', '--output-format=json'],
    ...(load.iopsMax === undefined ? [] : [`--rate_iops=${load.iopsMax}`]),
  ]);
  // fio prints warnings before its JSON.
  const [job] = JSON.parse(printed.slice(printed.indexOf('{'))).jobs;
  if (job.error !== 0) throw new Error(`fio ended with error ${job.error}`);
  const { iops, total_ios: measured } = load.pattern.endsWith('read') ? job.read : job.write;
  // What the ramp did is not counted by fio, but by those who served it.
  return { iops, requests: measured + iops * RAMP_SECONDS };
}

/**
 * Writes data that is not zero to the first `size` bytes of the export at `uri`. Many requests at a
 * time: it may be far away.
 */
export async function fill(uri: string, size: number): Promise<void> {
  await mustRun('fio', [
    ...['--name=fill', '--ioengine=nbd', `--uri=${uri}`, '--rw=write', `--bs=${MiB}`],
    ...['--iodepth=64', `--size=${size}`, '--output-format=terse'],
  ]);
}
