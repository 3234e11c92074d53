/**
 * One mirror job from its start to READY and to a soft cancel, by the same QMP for every contender.
 */
import { mustRun } from '../support/process.ts';
import { addressOf } from './address.ts';
import type { RunningContender } from './peers.ts';

/** Events of earlier mirrors are remembered: each has a name of its own. */
let mirrors = 0;

export type CopyMode = 'background' | 'write-blocking';

export class Mirror {
  readonly #server: RunningContender;
  readonly #source: string;
  readonly #readAt: string;
  readonly #job = `mirror${mirrors++}`;

  private constructor(server: RunningContender, source: string, readAt: string) {
    this.#server = server;
    this.#source = source;
    this.#readAt = readAt;
  }

  /** Adds the target; the job does not run yet. `readAt`: where to read what the target has. */
  static async prepare(
    server: RunningContender,
    source: string,
    target: string,
    readAt = target,
  ): Promise<Mirror> {
    await server.qmp.execute('blockdev-add', {
      driver: 'nbd',
      'node-name': 'target',
      server: addressOf(target),
      export: '',
      discard: 'unmap',
    });
    return new Mirror(server, source, readAt);
  }

  /** Starts the job; seconds until it was READY. */
  async untilReady(copyMode: CopyMode): Promise<number> {
    const { qmp } = this.#server;
    const start = performance.now();
    await qmp.execute('blockdev-mirror', {
      'job-id': this.#job,
      device: 'disk',
      target: 'target',
      sync: 'full',
      'copy-mode': copyMode,
    });
    await Promise.race([qmp.event('BLOCK_JOB_READY', { device: this.#job }), this.#failed()]);
    return (performance.now() - start) / 1000;
  }

  /**
   * Ends the job when source and target are the same, has a third party compare them, and lets go
   * of the target.
   */
  async finish(): Promise<void> {
    const { qmp } = this.#server;
    await qmp.execute('block-job-cancel', { device: this.#job });
    const { data } = await qmp.event('BLOCK_JOB_COMPLETED', { device: this.#job });
    if (data['error'] !== undefined) throw new Error(`the mirror failed: ${data['error']}`);
    await compare(this.#source, this.#readAt);
    await qmp.execute('blockdev-del', { 'node-name': 'target' });
  }

  async #failed(): Promise<never> {
    const device = this.#job;
    const { data } = await this.#server.qmp.event('BLOCK_JOB_COMPLETED', { device });
    throw new Error(`the mirror ended early: ${JSON.stringify(data)}`);
  }
}

/** Fails unless the file and the export have the same content. */
export async function compare(file: string, uri: string): Promise<void> {
  await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', file, uri]);
}
