import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as wire from '../../protocol/nbd/constants.ts';
import { pattern } from '../support/mirror-rig.ts';
import { makeImage } from '../support/nbd-mirror.ts';
import { currentScope, describePeers, startQemuNbd, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { startQmpRig } from '../support/qmp-rig.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';

/** iotest mirror-change-copy-mode: from background to write-blocking while clients write. */
const MiB = 1 << 20;
const CHUNK = 65536;
const SIZE = 4 * MiB;

describePeers('block-job-change to write-blocking', ['qemu-nbd', 'qemu-img', 'qemu-io'], () => {
  it('makes the mirror actively synced, and every write is on the target at once', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'source.raw'), join(directory, 'target.raw')];
    await writeFile(source, pattern(SIZE, 1));
    await makeImage(target, SIZE);
    const peer = await startQemuNbd({ file: target, exportName: 'copy' });
    const rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'file', 'node-name': 'disk', filename: source });
    const server = { type: 'unix', path: peer.socket };
    await rig.execute('blockdev-add', {
      driver: 'nbd',
      'node-name': 'copy',
      server,
      export: 'copy',
    });
    await rig.startNbdServer();
    const given = { type: 'nbd', id: 'e0', 'node-name': 'disk', writable: true };
    await rig.execute('block-export-add', given);
    const client = await RawNbdClient.connect({ path: rig.socket });
    currentScope().onClose(async () => client.close());
    await client.go({ name: 'disk' });
    const write = async (offset: number, seed: number) => {
      const request = { type: wire.NBD_CMD_WRITE, offset, length: CHUNK };
      client.request(request, Buffer.alloc(CHUNK, seed));
      expect((await client.reply()).error).toBe(0);
    };
    const job = async () =>
      ((await rig.execute('query-block-jobs')) as Record<string, number>[])[0]!;

    await rig.execute('blockdev-mirror', {
      'job-id': 'm0',
      device: 'disk',
      target: 'copy',
      sync: 'full',
      'copy-mode': 'background',
    });
    await rig.qmp.event('BLOCK_JOB_READY');
    expect(await job()).toMatchObject({ ready: true, 'actively-synced': false });

    // What is written meanwhile is copied again: the work grows beyond the disk.
    for (let round = 1; (await job())['len']! <= SIZE; round++) {
      for (let at = 0; at < SIZE; at += CHUNK) await write(at, round);
    }
    expect(await job()).toMatchObject({ 'actively-synced': false });

    const change = { id: 'm0', type: 'mirror', 'copy-mode': 'write-blocking' };
    await rig.execute('block-job-change', change);
    await rig.execute('block-job-change', change);
    expect(await rig.refusal('block-job-change', { ...change, 'copy-mode': 'background' })).toBe(
      "Change to copy mode 'background' is not implemented",
    );
    while (!(await job())['actively-synced']) await write(0, 0x11);
    for (const seed of [0x21, 0x22, 0x23]) {
      await write(CHUNK, seed);
      await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', `read -P ${seed} 64k 64k`, peer.uri]);
      expect(await job()).toMatchObject({ 'actively-synced': true, 'x-dirty-bytes': 0 });
    }

    await rig.execute('block-job-cancel', { device: 'm0' });
    const end = await rig.qmp.event('BLOCK_JOB_COMPLETED');
    expect(end['data']).not.toHaveProperty('error');
    await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', source, target]);
  });
});
