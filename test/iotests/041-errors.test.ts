import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import {
  COMPLETED,
  type DiskRig,
  FAILED,
  READY,
  STARTED,
  startDiskRig,
} from '../support/disk-rig.ts';
import { describePeers, startNbdkit, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** iotest 041: errors of either side, by policy. While a file is there nbdkit fails requests. */
const MiB = 1 << 20;

interface Broken {
  readonly rig: DiskRig;
  /** Arguments of the mirror that put the broken disk on its side. */
  readonly given: object;
  heal(): Promise<void>;
  compare(): Promise<void>;
}

async function startBroken(side: 'source' | 'target'): Promise<Broken> {
  const trigger = join(await tempDir(), 'broken');
  await writeFile(trigger, '');
  const verb = side === 'source' ? 'pread' : 'pwrite';
  const errors = [`error-${verb}-rate=100%`, `error-${verb}-file=${trigger}`];
  const disk = side === 'source' ? ['data', `0x5a*${MiB}`] : ['memory', String(MiB)];
  const peer = await startNbdkit(['--filter=error', ...disk, ...errors]);
  // After its server, so that it ends before it: nbdkit waits for its clients.
  const rig = await startDiskRig({ size: MiB, content: Buffer.alloc(MiB, 0x5a) });
  await rig.addNbd('broken', peer);
  const other = side === 'source' ? rig.targetFile : rig.sourceFile;
  return {
    rig,
    given: side === 'source' ? { device: 'broken' } : { target: 'broken' },
    heal: () => rm(trigger),
    async compare() {
      await mustRun('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'raw', peer.uri, other]);
    },
  };
}

const SIDES = [
  { side: 'source', operation: 'read', policy: 'on-source-error' },
  { side: 'target', operation: 'write', policy: 'on-target-error' },
] as const;

describePeers('an error of a real server', ['nbdkit', 'qemu-nbd', 'qemu-img'], () => {
  it.each(SIDES)('report: $side', async ({ side, operation, policy }) => {
    const { rig, given } = await startBroken(side);
    await rig.mirror({ ...given, [policy]: 'report' });
    await rig.status('null');
    expect(rig.story()).toEqual([...STARTED, 'BLOCK_JOB_ERROR', ...FAILED]);
    const { data: error } = await rig.qmp.event('BLOCK_JOB_ERROR');
    expect(error).toMatchObject({ device: 'm0', operation, action: 'report', 'x-side': side });
    const { data: end } = await rig.qmp.event('BLOCK_JOB_COMPLETED');
    expect(end).toMatchObject({ error: 'Input/output error' });
  });

  it.each(SIDES)('enospc: $side has no full disk, so it is a report', async ({ side, policy }) => {
    const { rig, given } = await startBroken(side);
    await rig.mirror({ ...given, [policy]: 'enospc' });
    await rig.status('null');
    expect((await rig.qmp.event('BLOCK_JOB_ERROR'))['data']).toMatchObject({ action: 'report' });
    expect(rig.story()).toEqual([...STARTED, 'BLOCK_JOB_ERROR', ...FAILED]);
  });

  it.each(SIDES)('ignore: $side, goes on and ends equal', async (way) => {
    const { side, operation, policy } = way;
    const { rig, given, heal, compare } = await startBroken(side);
    await rig.mirror({ ...given, [policy]: 'ignore' });
    await rig.qmp.event('BLOCK_JOB_ERROR', ({ action }) => action === 'ignore');
    expect((await rig.job())['io-status']).toBe('ok');
    await heal();
    await rig.ready();
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    const errors = rig.qmp.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR');
    for (const { data } of errors) expect(data).toMatchObject({ operation, action: 'ignore' });
    const others = rig.story().filter((event) => event !== 'BLOCK_JOB_ERROR');
    expect(others).toEqual([...STARTED, ...READY, ...COMPLETED]);
    await compare();
  });

  it.each(SIDES)('stop: $side, waits for the operator and ends equal', async (way) => {
    const { side, operation, policy } = way;
    const { rig, given, heal, compare } = await startBroken(side);
    await rig.mirror({ ...given, [policy]: 'stop' });
    await rig.status('paused');
    const { data: error } = await rig.qmp.event('BLOCK_JOB_ERROR');
    expect(error).toMatchObject({ operation, action: 'stop' });
    expect(await rig.job()).toMatchObject({ 'io-status': 'failed', paused: true, ready: false });
    await heal();
    await rig.execute('job-resume', { id: 'm0' });
    expect(await rig.job()).toMatchObject({ 'io-status': 'ok', paused: false });
    await rig.ready();
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    const others = rig.story().filter((event) => event !== 'BLOCK_JOB_ERROR');
    expect(others).toEqual([...STARTED, 'S:paused', 'S:running', ...READY, ...COMPLETED]);
    await compare();
  });
});
