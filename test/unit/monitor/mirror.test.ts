import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

/** Resolves when the event has been told. */
function told(rig: MonitorRig, event: string): Promise<void> {
  return new Promise((resolve) => {
    const stop = rig.dispatcher.onEvent((one) => {
      if (one.event !== event) return;
      stop();
      resolve();
    });
  });
}

describe('blockdev-mirror', () => {
  const DISK = 1 << 20;
  let rig: MonitorRig;
  beforeEach(async () => {
    rig = makeMonitorRig();
    for (const name of ['source', 'target', 'target2']) {
      await rig.dispatcher.call('blockdev-add', {
        driver: 'x-memory',
        'node-name': name,
        size: DISK,
      });
    }
    await node('source').write(0, Buffer.alloc(DISK, 'x'));
  });
  afterEach(() => rig.close());
  const node = (name: string) => rig.storage.graph.find(name)!;
  const content = (name: string) => {
    const data = Buffer.alloc(DISK);
    node(name).read(0, data);
    return data;
  };
  const start = { 'job-id': 'm0', device: 'source', target: 'target', sync: 'full' } as const;

  it('copies, shows itself, follows a change of mode, and completes', async () => {
    const ready = told(rig, 'BLOCK_JOB_READY');
    await rig.dispatcher.call('blockdev-mirror', { ...start, 'filter-node-name': 'top' });
    await ready;
    const change = { id: 'm0', type: 'mirror', 'copy-mode': 'write-blocking' } as const;
    await rig.dispatcher.call('block-job-change', change);
    const [job] = await rig.dispatcher.call('query-block-jobs');
    expect(job).toMatchObject({
      type: 'mirror',
      device: 'm0',
      len: DISK,
      offset: DISK,
      ready: true,
      status: 'ready',
      'io-status': 'ok',
      'x-target': 'target',
      'x-copy-mode': 'write-blocking',
    });
    const ended = told(rig, 'BLOCK_JOB_COMPLETED');
    await rig.dispatcher.call('job-complete', { id: 'm0' });
    await ended;
    expect(content('target').equals(content('source'))).toBe(true);
  });

  it('works with a bitmap of the caller: only what is marked is copied', async () => {
    const named = { node: 'source', name: 'work' };
    await rig.dispatcher.call('block-dirty-bitmap-add', named);
    await node('source').write(0, Buffer.from('marked'));
    const ready = told(rig, 'BLOCK_JOB_READY');
    await rig.dispatcher.call('blockdev-mirror', { ...start, bitmap: 'work' });
    await ready;
    const ended = told(rig, 'BLOCK_JOB_CANCELLED');
    await rig.dispatcher.call('job-cancel', { id: 'm0' });
    await ended;
    expect(content('target').subarray(0, 65536)).toEqual(content('source').subarray(0, 65536));
    expect(
      content('target')
        .subarray(65536)
        .every((byte) => byte === 0),
    ).toBe(true);
  });

  it('names its target, though the filter of a further mirror sits on that', async () => {
    await rig.dispatcher.call('blockdev-mirror', start);
    const further = { ...start, 'job-id': 'm1', device: 'target', target: 'target2' };
    await rig.dispatcher.call('blockdev-mirror', further);
    const jobs = await rig.dispatcher.call('query-block-jobs');
    const targets = jobs.map((job) => [job.device, job['x-target']]);
    expect(Object.fromEntries(targets)).toEqual({ m0: 'target', m1: 'target2' });
  });

  it('runs several times on one source', async () => {
    await rig.dispatcher.call('blockdev-mirror', start);
    const second = { ...start, 'job-id': 'm1', target: 'target2' };
    await rig.dispatcher.call('blockdev-mirror', second);
    const listed = await rig.dispatcher.call('query-jobs');
    expect(listed.map(({ id }) => id)).toEqual(['m1', 'm0']);
  });

  it('refuses a source that is a part of something else, and a target that is in use', async () => {
    await rig.dispatcher.call('blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'source' });
    await expect(rig.dispatcher.call('blockdev-mirror', start)).rejects.toThrow(
      'Need a root block node',
    );
    await rig.dispatcher.call('blockdev-del', { 'node-name': 'r' });
    await rig.dispatcher.call('blockdev-mirror', start);
    const again = { ...start, 'job-id': 'm1' };
    await expect(rig.dispatcher.call('blockdev-mirror', again)).rejects.toThrow(
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
  });

  it('tells of unknown jobs as each family of commands does', async () => {
    await expect(rig.dispatcher.call('job-pause', { id: 'm9' })).rejects.toMatchObject({
      message: 'Job not found',
      errorClass: 'GenericError',
    });
    const byDevice = rig.dispatcher.call('block-job-cancel', { device: 'm9' });
    await expect(byDevice).rejects.toMatchObject({
      message: "Block job 'm9' not found",
      errorClass: 'DeviceNotActive',
    });
  });
});
