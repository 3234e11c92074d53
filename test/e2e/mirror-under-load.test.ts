import { randomBytes, randomInt } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../protocol/nbd/constants.ts';
import { makeImage, startExport } from '../support/nbd-mirror.ts';
import {
  currentScope,
  describePeers,
  startProcess,
  startQemuNbd,
  tempDir,
} from '../support/peers.ts';
import { mustRun, pause } from '../support/process.ts';
import type { QmpConnection } from '../support/qmp-connection.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';

/**
 * Random load by fio while qemu-nbd holds the target: at the end qemu-img must find no difference.
 */
const MiB = 1 << 20;
const SIZE = 64 * MiB;
const PAGE = 4096;
const DEPTH = 8;
const WELL = { error: 0 };

async function rig() {
  const directory = await tempDir();
  const [source, copy] = [join(directory, 'source.raw'), join(directory, 'copy.raw')];
  await makeImage(source, SIZE, randomBytes(20 * MiB));
  await makeImage(copy, SIZE);
  const target = await startQemuNbd({ file: copy });
  const daemon = await startExport(source, [
    '--blockdev',
    `driver=nbd,node-name=target,server.type=unix,server.path=${target.socket}`,
  ]);
  return { source, copy, target, ...daemon };
}

function startLoad(socket: string, seconds: number, size = SIZE) {
  return startProcess('fio', [
    '--name=load',
    '--ioengine=nbd',
    `--uri=nbd+unix:///?socket=${socket}`,
    '--rw=randwrite',
    '--bsrange=512-64k',
    '--blockalign=512',
    '--iodepth=16',
    `--size=${size}`,
    `--runtime=${seconds}`,
    '--time_based',
  ]);
}

async function writes(qmp: QmpConnection): Promise<number> {
  const [exported] = await qmp.execute('query-block-exports');
  return exported!['x-requests'].writes;
}

/** Resolves when more is written than was before. */
async function underLoad(qmp: QmpConnection): Promise<void> {
  const before = await writes(qmp);
  await expect.poll(() => writes(qmp)).toBeGreaterThan(before);
}

/** A client that writes page by page, several at a time, and knows what it has written. */
class Writer {
  /** So many times pages were written and answered. */
  rounds = 0;
  readonly #client: RawNbdClient;
  readonly #pages = new Map<number, Buffer>();

  static async connect(path: string): Promise<Writer> {
    const client = await RawNbdClient.connect({ path });
    currentScope().onClose(async () => client.close());
    await client.go();
    return new Writer(client);
  }

  private constructor(client: RawNbdClient) {
    this.#client = client;
  }

  async writeUntil(isOver: () => boolean): Promise<void> {
    for (; !isOver(); this.rounds++) {
      const offsets = Array.from({ length: DEPTH }, () => randomInt(SIZE / PAGE) * PAGE);
      for (const offset of new Set(offsets)) {
        const data = randomBytes(PAGE);
        this.#pages.set(offset, data);
        this.#client.request({ type: NBD_CMD_WRITE, offset, length: PAGE }, data);
      }
      for (const _ of new Set(offsets)) expect(await this.#client.reply()).toMatchObject(WELL);
    }
  }

  /** Reads it all back over the same connection. */
  async verify(): Promise<void> {
    for (const [offset, data] of this.#pages) {
      this.#client.request({ type: NBD_CMD_READ, offset, length: PAGE });
      const { error, chunks } = await this.#client.reply(PAGE);
      expect(error).toBe(0);
      if (!chunks[0]!.payload.equals(data)) throw new Error(`page at ${offset} is another one`);
    }
  }
}

function startMirror(qmp: QmpConnection, mode: string, more: object = {}) {
  return qmp.execute('blockdev-mirror', {
    'job-id': 'm',
    device: 'source',
    target: 'target',
    sync: 'full',
    'copy-mode': mode,
    ...more,
  });
}

async function writeAt(path: string, offset: number, data: Buffer): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(data, 0, data.length, offset);
  await file.close();
}

async function expectEqual(a: string, b: string): Promise<void> {
  const output = await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', a, b]);
  expect(output).toContain('Images are identical');
}

const tools = ['fio', 'qemu-nbd', 'qemu-img'];

for (const mode of ['background', 'write-blocking']) {
  describePeers(`a ${mode} mirror under random load`, tools, () => {
    it('ends identical by a soft cancel', async () => {
      const { qmp, socket, source, copy } = await rig();
      const load = await startLoad(socket, 4);
      await underLoad(qmp);
      await startMirror(qmp, mode);
      await qmp.event('BLOCK_JOB_READY');
      expect(await load.exited).toBe(0);
      await qmp.execute('block-job-cancel', { device: 'm' });
      const end = await qmp.event('BLOCK_JOB_COMPLETED');
      expect(end.data['error']).toBeUndefined();
      await expectEqual(source, copy);
    });

    it('ends identical when it was paused, and its mode changed', async () => {
      const { qmp, socket, source, copy } = await rig();
      const load = await startLoad(socket, 4);
      await underLoad(qmp);
      await startMirror(qmp, mode);
      await qmp.execute('job-pause', { id: 'm' });
      await pause(500);
      await qmp.execute('job-resume', { id: 'm' });
      await qmp.execute('block-job-change', {
        id: 'm',
        type: 'mirror',
        'copy-mode': 'write-blocking',
      });
      await qmp.event('BLOCK_JOB_READY');
      expect(await load.exited).toBe(0);
      await expect
        .poll(async () => (await qmp.execute('query-block-jobs'))[0]?.['actively-synced'])
        .toBe(true);
      await qmp.execute('block-job-cancel', { device: 'm' });
      await qmp.event('BLOCK_JOB_COMPLETED');
      await expectEqual(source, copy);
    });

    it('pivots, and its clients go on, now on the target, without reconnecting', async () => {
      const { qmp, socket, uri, copy } = await rig();
      const client = await Writer.connect(socket);
      let pivoted = false;
      const written = client.writeUntil(() => pivoted);
      await expect.poll(() => client.rounds).toBeGreaterThan(0);
      await startMirror(qmp, mode);
      await qmp.event('BLOCK_JOB_READY');
      await qmp.execute('job-complete', { id: 'm' });
      const end = await qmp.event('BLOCK_JOB_COMPLETED');
      expect(end.data['error']).toBeUndefined();
      const before = client.rounds;
      await expect.poll(() => client.rounds).toBeGreaterThan(before + 20);
      const [exported] = await qmp.execute('query-block-exports');
      expect(exported?.['node-name']).toBe('target');
      expect(exported?.['x-clients']).toHaveLength(1);
      pivoted = true;
      await written;
      await client.verify();
      await expectEqual(uri, copy);
    });

    it('copies only what a bitmap has, and hands it back clean', async () => {
      const { qmp, socket, source, copy } = await rig();
      await mustRun('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', source, copy]);
      // Behind what is written there is something else on the target, and stays.
      const end = { at: SIZE - PAGE, data: randomBytes(PAGE) };
      await writeAt(copy, end.at, end.data);
      await qmp.execute('block-dirty-bitmap-add', { node: 'source', name: 'b' });
      expect(await (await startLoad(socket, 1, SIZE / 2)).exited).toBe(0);
      const load = await startLoad(socket, 3, SIZE / 2);
      await underLoad(qmp);
      await startMirror(qmp, mode, { bitmap: 'b' });
      await qmp.event('BLOCK_JOB_READY');
      expect(await load.exited).toBe(0);
      await qmp.execute('block-job-cancel', { device: 'm' });
      await qmp.event('BLOCK_JOB_COMPLETED');
      const [was, is] = await Promise.all([readFile(source), readFile(copy)]);
      expect(is.subarray(end.at).equals(end.data)).toBe(true);
      expect(is.subarray(0, end.at).equals(was.subarray(0, end.at))).toBe(true);
      const nodes = await qmp.execute('query-named-block-nodes');
      const node = nodes.find((info) => info['node-name'] === 'source');
      expect(node?.['dirty-bitmaps']).toMatchObject([
        { name: 'b', count: 0, busy: false, recording: true },
      ]);
    });
  });
}
