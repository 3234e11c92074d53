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
/**
 * Later on V8's heap still takes a step or two to the size at which it stays, 10 MiB each, some of
 * them after 20 minutes; a leak goes on.
 */
const SETTLED_PART = 1 / 3;
/** Of what comes then, by the median of all slopes: a step does not count, a trend does. */
const GROWTH_MIB_AN_HOUR_MAX = 8;

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
  const server = await startContender(scope, contender, file, 'unix');
  const samples: number[] = [];
  const modes: CopyMode[] = ['background', 'write-blocking'];
  const warmSeconds = WARM_UP_MINUTES * 60;
  const endSeconds = warmSeconds + minutes * 60;
  for (const start = performance.now(); secondsSince(start) < endSeconds; ) {
    const mode = modes.shift()!;
    modes.push(mode);
    const cycle = new Scope();
    try {
      const target = await memoryTarget(cycle, DISK_BYTES, 'unix');
      const mirror = await Mirror.prepare(server, file, target);
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

/** MiB an hour by which memory grew once it had settled (Theil and Sen); samples of `minutes`. */
export function growth(samples: readonly number[], minutes: number): number {
  const settled = samples.slice(Math.floor(samples.length * SETTLED_PART));
  const slopes = settled.flatMap((earlier, index) =>
    settled.slice(index + 1).map((later, distance) => (later - earlier) / (distance + 1)),
  );
  return slopes.length === 0 ? 0 : (median(slopes) * samples.length * 60) / minutes;
}

/** What is wrong with the figures, if anything. */
export function complaints(growthMiBAnHour: number, peakMiB: number): string[] {
  const grown = growthMiBAnHour.toFixed(0);
  return [
    ...(growthMiBAnHour > GROWTH_MIB_AN_HOUR_MAX ? [`memory grows by ${grown} MiB an hour`] : []),
    ...(peakMiB > MEMORY_MIB_MAX ? [`${peakMiB.toFixed(0)} MiB of memory at most`] : []),
  ];
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
