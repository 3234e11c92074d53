/** Where mirrors go: a disk in memory, and one that counts what is written to it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun, type Scope, type StoppableProcess } from '../support/process.ts';
import { type Network, socketOf } from './address.ts';
import { fill } from './fio.ts';
import { startNbdkit, startNbdkitProcess } from './peers.ts';

/** Starts a server for a disk of `size` bytes; its URI. */
export type Target = (scope: Scope, size: number, network: Network) => Promise<string>;

/** It takes memory from the kernel as data comes. */
export function memoryTarget(scope: Scope, size: number, network: Network): Promise<string> {
  return startNbdkit(scope, network, ['memory', String(size)]);
}

/**
 * One that has all its memory, because there is (other) data everywhere: to get memory from the
 * kernel takes longer than all the rest of a copy.
 */
export function filled(target: Target): Target {
  return async (scope, size, network) => {
    const uri = await target(scope, size, network);
    await fill(uri, size);
    return uri;
  };
}

/** One that another disk was copied to before. */
export function holding(image: (size: number) => Promise<string>, target: Target): Target {
  return async (scope, size, network) => {
    const [file, uri] = [await image(size), await target(scope, size, network)];
    const raw = ['-f', 'raw', '-O', 'raw'];
    await mustRun('qemu-img', ['convert', '-n', '--target-is-zero', ...raw, file, uri]);
    return uri;
  };
}

/**
 * One that answers writes and zeroes after so many milliseconds, as if it were far away: a link
 * delays whatever is on it, so the server has a thread for every request that may be.
 */
export function farTarget(milliseconds: number): Target {
  return (scope, size, network) => {
    const delay = ['--filter=delay', 'memory', String(size), `wdelay=${milliseconds}ms`];
    return startNbdkit(scope, network, ['--threads=64', ...delay]);
  };
}

/**
 * The same disk for who reads all of it: asked where data ends, `nbdkit memory` looks through all
 * that is left each time, a minute for 4096 runs in 1 GiB.
 */
export function withoutExtents(scope: Scope, uri: string): Promise<string> {
  return startNbdkit(scope, 'unix', ['--filter=noextents', 'nbd', `socket=${socketOf(uri)}`]);
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

export class CountingTarget {
  readonly uri: string;
  readonly #process: StoppableProcess;
  readonly #statsFile: string;

  private constructor(uri: string, process: StoppableProcess, statsFile: string) {
    this.uri = uri;
    this.#process = process;
    this.#statsFile = statsFile;
  }

  static async start(scope: Scope, size: number, network: Network): Promise<CountingTarget> {
    const statsFile = join(await scope.tempDir(), 'stats');
    const memory = ['--filter=stats', 'memory', String(size), `statsfile=${statsFile}`];
    const { uri, process } = await startNbdkitProcess(scope, network, memory);
    return new CountingTarget(uri, process, statsFile);
  }

  /** Ends it when its clients have gone. The bytes of data that were written to it. */
  async stop(): Promise<number> {
    await this.#process.stop();
    const stats = await readFile(this.#statsFile, 'utf8');
    const [, amount = 0, unit = ''] = /^write: .* ([\d.]+) (\w+),/m.exec(stats) ?? [];
    return Number(amount) * 1024 ** Math.max(0, UNITS.indexOf(unit));
  }
}
