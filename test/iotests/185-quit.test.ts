import { randomFillSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CANCELLED, READY, STARTED } from '../support/disk-rig.ts';
import { type RunningDaemon, startExport } from '../support/nbd-mirror.ts';
import { describePeers, type NbdPeer, startNbdkit, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/**
 * iotests 109, 185 and 218: `quit` while a mirror is at work abandons it and waits for no data.
 * QEMU tells of standby and ready, twice, in between: it pauses jobs to drain the graph. We drain
 * nothing at the end, so the job is told as cancelled at once.
 */
const MiB = 1 << 20;
const TOOLS = ['nbdkit', 'qemu-io'];

async function start(peer: NbdPeer, mirror: object): Promise<RunningDaemon> {
  const file = join(await tempDir(), 'source.raw');
  await writeFile(file, randomFillSync(Buffer.alloc(8 * MiB)));
  const daemon = await startExport(file);
  const server = { type: 'unix', path: peer.socket };
  await daemon.qmp.execute('blockdev-add', { driver: 'nbd', 'node-name': 'target', server });
  const pair = { device: 'source', target: 'target' };
  await daemon.qmp.execute('blockdev-mirror', { 'job-id': 'm0', ...pair, ...mirror });
  return daemon;
}

/** What was told of the job, to the last. */
function storyOf({ qmp }: RunningDaemon): string[] {
  return qmp.events
    .filter(({ event }) => event.includes('JOB'))
    .map(({ event, data }) => (event === 'JOB_STATUS_CHANGE' ? `S:${data['status']}` : event));
}

describePeers('quit', TOOLS, () => {
  it('while a slow mirror runs: what was copied is told, the rest is not waited for', async () => {
    const daemon = await start(await startNbdkit(['memory', '8M']), {
      sync: 'full',
      speed: 65_536,
    });
    // It has looked what there is to do.
    const jobs = () => daemon.qmp.execute('query-jobs');
    await expect.poll(async () => (await jobs())[0]?.['total-progress']).toBe(8 * MiB);
    await daemon.qmp.execute('quit');
    expect(await daemon.process.exited).toBe(0);
    expect(storyOf(daemon)).toEqual([...STARTED, ...CANCELLED]);
    const end = await daemon.qmp.event('BLOCK_JOB_CANCELLED');
    // QEMU's first round is as large as its buffer (4 MiB there); ours is what the speed allows.
    expect(end.data).toMatchObject({ type: 'mirror', device: 'm0', speed: 65_536, len: 8 * MiB });
    expect(end.data['offset']).toBeLessThan(MiB);
  });

  it('after READY, with much that is dirty and a target that is slow', async () => {
    // The mirror's data would take a minute and more.
    const slow = await startNbdkit(['--filter=rate', 'memory', '8M', 'rate=1M']);
    const daemon = await start(slow, { sync: 'none' });
    await daemon.qmp.event('BLOCK_JOB_READY');
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 8M', daemon.uri]);
    await daemon.qmp.execute('quit');
    expect(await daemon.process.exited).toBe(0);
    expect(storyOf(daemon)).toEqual([...STARTED, ...READY, ...CANCELLED]);
    const { data } = await daemon.qmp.event('BLOCK_JOB_CANCELLED');
    expect(data['offset']).toBeLessThan(data['len'] as number);
  });

  it('after READY, with a target that answers nothing any more and clients that wait', async () => {
    const target = await startNbdkit(['memory', '8M']);
    const daemon = await start(target, { sync: 'full', 'copy-mode': 'write-blocking' });
    await daemon.qmp.event('BLOCK_JOB_READY');
    target.process.signal('SIGSTOP');
    const written = mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 1M', daemon.uri]);
    const left = async () => {
      const [job] = await daemon.qmp.execute('query-jobs');
      return job!['total-progress'] - job!['current-progress'];
    };
    await expect.poll(left).toBe(MiB);
    await daemon.qmp.execute('quit');
    expect(await daemon.process.exited).toBe(0);
    expect(storyOf(daemon)).toEqual([...STARTED, ...READY, ...CANCELLED]);
    // The source has it, which is all that was promised once the mirror had been given up.
    await written;
    target.process.signal('SIGCONT');
  });

  it('after READY, with nothing to do', async () => {
    const daemon = await start(await startNbdkit(['memory', '8M']), { sync: 'full' });
    await daemon.qmp.event('BLOCK_JOB_READY');
    await daemon.qmp.execute('quit');
    expect(await daemon.process.exited).toBe(0);
    expect(storyOf(daemon)).toEqual([...STARTED, ...READY, ...CANCELLED]);
    const { data } = await daemon.qmp.event('BLOCK_JOB_CANCELLED');
    expect(data).toMatchObject({ len: 8 * MiB, offset: 8 * MiB, speed: 0 });
  });

  it('with a job that waits to be finalized: no pivot, and no end that hangs', async () => {
    const given = { sync: 'full', 'auto-finalize': false, 'auto-dismiss': false };
    const daemon = await start(await startNbdkit(['memory', '8M']), given);
    await daemon.qmp.event('BLOCK_JOB_READY');
    await daemon.qmp.execute('job-complete', { id: 'm0' });
    await daemon.qmp.event('BLOCK_JOB_PENDING');
    await daemon.qmp.execute('quit');
    expect(await daemon.process.exited).toBe(0);
    const end = ['S:aborting', 'BLOCK_JOB_CANCELLED', 'S:concluded', 'S:null'];
    expect(storyOf(daemon).slice(-4)).toEqual(end);
  });
});
