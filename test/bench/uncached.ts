/** Where the page cache does not help: how fast it is, and whether others are served meanwhile. */
import type { Scope } from '../support/process.ts';
import { type Load, runLoad } from './fio.ts';
import { MiB } from './images.ts';
import { longestWait } from './longest-wait.ts';
import { LoopDelay } from './loop-delay.ts';
import { compare } from './mirror.ts';
import { type Contender, startContender } from './peers.ts';
import { forget, type Storage } from './storage.ts';
import {
  describeLoad,
  LIMIT,
  LOAD_DISK_BYTES,
  type Setting,
  type Side,
  underLoad,
  type Workload,
  warmUp,
} from './workload.ts';

/** What nobody may have to wait because another waits for the disk. */
const STALL_MS_MAX = 20;

export function uncached(setting: Setting, storage: Storage, load: Load): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const { file, server } = await startUncached(scope, setting, storage, contender);
      await warmUp(server.uri, load);
      await forget(scope, file);
      const { value, cpu } = await underLoad(server, load, setting.seconds);
      await compare(file, server.uri);
      return { value, cpu, peakMemory: server.peakMemory() };
    },
  });
  return {
    name: `${storage.name}, ${describeLoad(load)}`,
    unit: 'IOPS',
    ours: side(setting.ours),
    peers: setting.qsds.map(side),
  };
}

/** Whether those who wait for the disk make others wait. */
export function waitOfAnother(setting: Setting, storage: Storage, load: Load): Workload {
  const side = (contender: Contender): Side => ({
    name: contender.name,
    async measure(scope) {
      const { server } = await startUncached(scope, setting, storage, contender);
      const end = LOAD_DISK_BYTES - MiB;
      const running = runLoad(server.uri, load, end, setting.seconds);
      const value = await longestWait(server.uri, end, running);
      return { value, peakMemory: server.peakMemory() };
    },
  });
  return {
    name: `${storage.name}, ${describeLoad(load)}: longest wait of another client`,
    unit: 'ms',
    ours: side(setting.ours),
    peers: [side(setting.qsd)],
  };
}

/**
 * How late our event loop is at worst: everything that it serves waits so long. Beside it one that
 * has nothing to do, under the same load: what the machine's other processes, and its host, cause.
 */
export function loopDelay(setting: Setting, storage: Storage, load: Load): Workload {
  const side = (name: string, watchesIdle: boolean): Side => ({
    name,
    async measure(scope) {
      const delay = await LoopDelay.prepare(scope);
      if (watchesIdle) await delay.watchIdle(scope);
      const contender = watchesIdle ? setting.ours : delay.watch(setting.ours);
      const { server } = await startUncached(scope, setting, storage, contender);
      const before = await delay.beginning();
      await runLoad(server.uri, load, LOAD_DISK_BYTES, setting.seconds);
      return { value: await delay.longestSince(before), peakMemory: server.peakMemory() };
    },
  });
  const allowed = async () => ({ value: STALL_MS_MAX });
  return {
    name: `${storage.name}, ${describeLoad(load)}: longest delay of our event loop`,
    unit: 'ms',
    ours: side(setting.ours.name, false),
    peers: [
      { name: `${LIMIT}${STALL_MS_MAX} ms`, measure: allowed },
      side(`${LIMIT}idle event loop`, true),
    ],
  };
}

async function startUncached(
  scope: Scope,
  { images, network }: Setting,
  { driver, prepare }: Storage,
  contender: Contender,
) {
  const file = await prepare(scope, await images.randomByPage(LOAD_DISK_BYTES));
  return { file, server: await startContender(scope, contender, file, network, driver) };
}
