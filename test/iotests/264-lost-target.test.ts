import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { pattern } from '../support/mirror-rig.ts';
import { makeImage } from '../support/nbd-mirror.ts';
import { describePeers, startProcess, tempDir } from '../support/peers.ts';
import { mustRun, pause, type RunningProcess } from '../support/process.ts';
import { type QmpRig, startQmpRig } from '../support/qmp-rig.ts';

/**
 * iotest 264: the target's server is killed in the middle of a mirror whose target is waited for
 * (`reconnect-delay`). Ten minutes, so that a test that waits for it does not end in time.
 */
const MiB = 1 << 20;
const SIZE = 8 * MiB;

describePeers('a mirror whose target goes away', ['qemu-nbd', 'qemu-img'], () => {
  let rig: QmpRig;
  let source: string;
  let target: string;
  let socket: string;
  let server: RunningProcess;

  const startTarget = async () => {
    server = await startProcess('qemu-nbd', ['--persistent', '-k', socket, '-f', 'raw', target], {
      readySocket: socket,
    });
  };
  const progress = async () => {
    const [job] = (await rig.execute('query-block-jobs')) as { offset: number }[];
    return job!.offset;
  };

  beforeEach(async () => {
    const directory = await tempDir();
    [source, target, socket] = ['s.raw', 't.raw', 'nbd'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await writeFile(source, pattern(SIZE, 5));
    await makeImage(target, SIZE);
    await startTarget();
    rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'file', 'node-name': 'disk', filename: source });
    await rig.execute('blockdev-add', {
      driver: 'nbd',
      'node-name': 'copy',
      server: { type: 'unix', path: socket },
      'reconnect-delay': 600,
    });
    await rig.execute('blockdev-mirror', {
      'job-id': 'm0',
      device: 'disk',
      target: 'copy',
      sync: 'full',
      speed: 2 * MiB,
      'buf-size': 65536,
    });
    while ((await progress()) === 0) await pause(5);
    server.signal('SIGKILL');
    await server.exited;
    await rig.execute('block-job-set-speed', { device: 'm0', speed: 0 });
    // Nothing moves any more: what the job asked for waits for the server.
    for (let last = -1; last !== (await progress()); ) {
      last = await progress();
      await pause(50);
    }
    expect(await progress()).toBeLessThan(SIZE);
  });

  it('is cancelled by force without waiting for it', { timeout: 30_000 }, async () => {
    await rig.execute('block-job-cancel', { device: 'm0', force: true });
    await rig.qmp.event('BLOCK_JOB_CANCELLED');
    expect(await rig.execute('query-jobs')).toEqual([]);
    await rig.execute('blockdev-del', { 'node-name': 'copy' });
  });

  it('goes on when it is back', { timeout: 30_000 }, async () => {
    await startTarget();
    await rig.qmp.event('BLOCK_JOB_READY');
    expect(rig.qmp.events.some(({ event }) => event === 'BLOCK_JOB_ERROR')).toBe(false);
    await rig.execute('block-job-cancel', { device: 'm0' });
    await rig.qmp.event('BLOCK_JOB_COMPLETED', (data) => data['error'] === undefined);
    await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', source, target]);
  });
});
