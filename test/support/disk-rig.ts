import { randomFillSync } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Qmp } from '../../protocol/qmp/schema.ts';
import { type NbdPeer, startQemuNbd } from './peers.ts';
import { mustRun } from './process.ts';
import type { Message } from './qmp-peer.ts';
import { type QmpRig, startQmpRig } from './qmp-rig.ts';

/**
 * A mirror as an operator has it: a raw file, exported, mirrored to a foreign NBD server, steered
 * over a QMP socket, and written to by qemu-io.
 */
export interface DiskRig extends QmpRig {
  readonly sourceFile: string;
  readonly targetFile: string;
  /** Adds a node for an export of another server. */
  addNbd(name: string, peer: NbdPeer, more?: object): Promise<void>;
  /** Starts `m0` from `source` to `target`. */
  mirror(given?: object): Promise<void>;
  /** What `query-block-jobs` says of `m0`. */
  job(): Promise<Qmp<'BlockJobInfo'>>;
  /** Waits for this status of `m0`. */
  status(status: string): Promise<void>;
  ready(): Promise<Message>;
  /** Runs qemu-io's commands on the export of the source. */
  io(...commands: string[]): Promise<string>;
  /** Fails unless both files hold the same. */
  compare(): Promise<void>;
  /** Events of the job in short: `S:ready`, `BLOCK_JOB_READY`. */
  story(): string[];
}

export interface DiskRigOptions {
  size: number;
  targetSize?: number;
  /** At the beginning of the source; random bytes over half of it when absent. */
  content?: Buffer;
  /** What the target file holds at first. */
  targetContent?: Buffer;
}

/** `target` is a qemu-nbd with a file; `source` is exported as `disk`. */
export async function startDiskRig(options: DiskRigOptions): Promise<DiskRig> {
  const rig = await startQmpRig();
  const { execute, qmp, directory } = rig;
  const [sourceFile, targetFile] = [join(directory, 'source.raw'), join(directory, 'target.raw')];
  const { size, targetSize = size, targetContent = Buffer.alloc(0) } = options;
  await writeFile(sourceFile, options.content ?? randomFillSync(Buffer.alloc(size / 2)));
  await truncate(sourceFile, size);
  await writeFile(targetFile, targetContent);
  await truncate(targetFile, targetSize);
  const file = { driver: 'file', 'node-name': 'source', filename: sourceFile, discard: 'unmap' };
  await execute('blockdev-add', file);
  await rig.startNbdServer();
  const disk = { type: 'nbd', id: 'e0', 'node-name': 'source', name: 'disk', writable: true };
  await execute('block-export-add', disk);

  const addNbd = async (name: string, peer: NbdPeer, more: object = {}) => {
    const server = { type: 'unix', path: peer.socket };
    const node = { driver: 'nbd', 'node-name': name, server, discard: 'unmap', ...more };
    await execute('blockdev-add', node);
  };
  await addNbd('target', await startQemuNbd({ file: targetFile, args: ['--discard=unmap'] }));
  const io = async (...commands: string[]) => {
    const script = commands.flatMap((command) => ['-c', command]);
    const output = await mustRun('qemu-io', ['-f', 'raw', ...script, rig.uri('disk')]);
    // Of requests that fail behind it, it does not tell by its exit code.
    if (output.includes('failed')) throw new Error(`qemu-io: ${output}`);
    return output;
  };
  return {
    ...rig,
    sourceFile,
    targetFile,
    addNbd,
    async mirror(given = {}) {
      const pair = { device: 'source', target: 'target' };
      await execute('blockdev-mirror', { 'job-id': 'm0', ...pair, sync: 'full', ...given });
    },
    async job() {
      const [job] = (await execute('query-block-jobs')) as Qmp<'BlockJobInfo'>[];
      if (job === undefined) throw new Error('there is no job');
      return job;
    },
    async status(status) {
      await qmp.event('JOB_STATUS_CHANGE', (data) => data['status'] === status);
    },
    ready: () => qmp.event('BLOCK_JOB_READY'),
    io,
    async compare() {
      await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', sourceFile, targetFile]);
    },
    story: () =>
      qmp.events
        .filter(({ event }) => /JOB/.test(event as string))
        .map(({ event, data }) =>
          event === 'JOB_STATUS_CHANGE' ? `S:${(data as Message)['status']}` : (event as string),
        ),
  };
}

/** What a job tells from its start to READY, and from its end to oblivion. */
export const STARTED = ['S:created', 'S:running'];
export const READY = ['S:ready', 'BLOCK_JOB_READY'];
export const COMPLETED = ['S:waiting', 'S:pending', 'BLOCK_JOB_COMPLETED', 'S:concluded', 'S:null'];
export const CANCELLED = ['S:aborting', 'BLOCK_JOB_CANCELLED', 'S:concluded', 'S:null'];
export const FAILED = ['S:aborting', 'BLOCK_JOB_COMPLETED', 'S:concluded', 'S:null'];
