/**
 * Memory over time: one server under an hour of reads and writes, while one mirror after the other
 * is made, followed and compared. What it holds at the end is what it held at the beginning.
 */
import { Scope } from '../support/process.ts';
import { runLoad } from './fio.ts';
import { type Images, MiB } from './images.ts';
import { type CopyMode, Mirror } from './mirror.ts';
import { type Contender, startContender } from './peers.ts';
import { MEMORY_MIB_MAX, median } from './results.ts';
import { memoryTarget } from './target.ts';

const DISK_BYTES = 512 * MiB;
const LOAD = { pattern: 'randrw', blockSize: 4096, depth: 8, iopsMax: 2000 } as const;
/** A mirror is attached for so long, then for as long there is none. */
const PHASE_SECONDS = 10;
/** Meanwhile code is compiled, pools fill and the heap finds its size: nothing is judged yet. */
export const WARM_UP_MINUTES = 5;
/** At the end it may hold so much more than at the beginning. */
const GROWTH_MIB_MAX = 8;

/**
 * Resident memory when a mirror had gone, in MiB, one sample each, for so many minutes once it has
 * warmed up; throws when a mirror fails.
 */
export async function soak(
  scope: Scope,
  contender: Contender,
  images: Images,
  minutes: number,
  onSample: (elapsedSeconds: number, mebibytes: number, isWarm: boolean) => void,
): Promise<{ samples: number[]; peakMiB: number }> {
  const file = await images.randomByPage(DISK_BYTES);
  const server = await startContender(scope, contender, file);
  const samples: number[] = [];
  const modes: CopyMode[] = ['background', 'write-blocking'];
  const warmSeconds = WARM_UP_MINUTES * 60;
  const endSeconds = warmSeconds + minutes * 60;
  for (const start = performance.now(); secondsSince(start) < endSeconds; ) {
    const mode = modes.shift()!;
    modes.push(mode);
    const cycle = new Scope();
    try {
      const mirror = await Mirror.prepare(server, file, await memoryTarget(cycle, DISK_BYTES));
      const load = runLoad(server.uri, LOAD, DISK_BYTES, PHASE_SECONDS);
      await Promise.all([mirror.untilReady(mode), load]);
      await mirror.finish();
    } finally {
      await cycle.close();
    }
    await runLoad(server.uri, LOAD, DISK_BYTES, PHASE_SECONDS);
    const mebibytes = server.memory() / MiB;
    const isWarm = secondsSince(start) >= warmSeconds;
    if (isWarm) samples.push(mebibytes);
    onSample(secondsSince(start), mebibytes, isWarm);
  }
  return { samples, peakMiB: server.peakMemory() / MiB };
}

/** What is wrong with the figures, if anything: by the medians of the first and the last tenth. */
export function growth(samples: readonly number[], peakMiB: number): string[] {
  const tenth = Math.max(1, Math.floor(samples.length / 10));
  const first = median(samples.slice(0, tenth));
  const last = median(samples.slice(-tenth));
  const figures = `${first.toFixed(0)} MiB at the beginning, ${last.toFixed(0)} MiB at the end`;
  return [
    ...(last > first + GROWTH_MIB_MAX ? [`memory grew: ${figures}`] : []),
    ...(peakMiB > MEMORY_MIB_MAX ? [`${peakMiB.toFixed(0)} MiB of memory at most`] : []),
  ];
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
