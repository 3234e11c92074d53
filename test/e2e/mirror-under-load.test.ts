import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage, startExport } from '../support/nbd-mirror.ts';
import { describePeers, startProcess, startQemuNbd, tempDir } from '../support/peers.ts';
import { mustRun, pause } from '../support/process.ts';
import type { QmpConnection } from '../support/qmp-connection.ts';

/**
 * Random load by fio while qemu-nbd holds the target: at the end qemu-img must find no difference.
 */
const MiB = 1 << 20;
const SIZE = 64 * MiB;

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

function startLoad(socket: string, seconds: number) {
  return startProcess('fio', [
    '--name=load',
    '--ioengine=nbd',
    `--uri=nbd+unix:///?socket=${socket}`,
    '--rw=randwrite',
    '--bsrange=512-64k',
    '--blockalign=512',
    '--iodepth=16',
    `--size=${SIZE}`,
    `--runtime=${seconds}`,
    '--time_based',
  ]);
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
      await pause(300);
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
      const verify = startProcess('fio', [
        '--name=verify',
        '--ioengine=nbd',
        `--uri=nbd+unix:///?socket=${socket}`,
        '--rw=randwrite',
        '--bs=4k',
        '--iodepth=8',
        `--size=${SIZE}`,
        '--rate_iops=8000',
        '--verify=crc32c',
        '--do_verify=1',
        '--verify_state_save=0',
      ]);
      await startMirror(qmp, mode);
      await qmp.event('BLOCK_JOB_READY');
      await qmp.execute('job-complete', { id: 'm' });
      const end = await qmp.event('BLOCK_JOB_COMPLETED');
      expect(end.data['error']).toBeUndefined();
      expect(await (await verify).exited).toBe(0);
      await expectEqual(uri, copy);
    });

    it('copies only what a bitmap has, and hands it back clean', async () => {
      const { qmp, socket, source, copy } = await rig();
      await mustRun('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', source, copy]);
      await qmp.execute('block-dirty-bitmap-add', { node: 'source', name: 'b' });
      expect(await (await startLoad(socket, 1)).exited).toBe(0);
      const load = await startLoad(socket, 3);
      await startMirror(qmp, mode, { bitmap: 'b' });
      await qmp.event('BLOCK_JOB_READY');
      expect(await load.exited).toBe(0);
      await qmp.execute('block-job-cancel', { device: 'm' });
      await qmp.event('BLOCK_JOB_COMPLETED');
      await expectEqual(source, copy);
      const nodes = await qmp.execute('query-named-block-nodes');
      const node = nodes.find((info) => info['node-name'] === 'source');
      expect(node?.['dirty-bitmaps']).toMatchObject([
        { name: 'b', count: 0, busy: false, recording: true },
      ]);
    });
  });
}
