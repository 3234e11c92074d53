/**
 * Load by fio's own NBD client: a program of others on the client's side, the same for everybody.
 */
import { mustRun } from '../support/process.ts';

export interface Load {
  pattern: 'randread' | 'randwrite' | 'read' | 'write';
  blockSize: number;
  depth: number;
}

/** Requests a second of `load` against the export at `uri`, over the first `size` bytes. */
export async function runLoad(
  uri: string,
  load: Load,
  size: number,
  seconds: number,
): Promise<number> {
  const printed = await mustRun('fio', [
    ...['--name=load', '--ioengine=nbd', `--uri=${uri}`, `--rw=${load.pattern}`],
    ...[`--bs=${load.blockSize}`, `--iodepth=${load.depth}`, `--size=${size}`],
    ...['--time_based', `--runtime=${seconds}`, '--ramp_time=0.5', '--randrepeat=0'],
    ...['--norandommap', '--refill_buffers', '--output-format=json'],
  ]);
  // fio prints warnings before its JSON.
  const [job] = JSON.parse(printed.slice(printed.indexOf('{'))).jobs;
  if (job.error !== 0) throw new Error(`fio ended with error ${job.error}`);
  return load.pattern.endsWith('read') ? job.read.iops : job.write.iops;
}
