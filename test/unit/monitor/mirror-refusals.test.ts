import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BITMAP_GRANULES_MAX, KiB, MiB } from '../../../src/util/limits.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

/** What blockdev-mirror refuses so that nothing is lost later. */
describe('a mirror', () => {
  let rig: MonitorRig;
  let directory: string;
  beforeEach(async () => {
    rig = makeMonitorRig();
    directory = mkdtempSync(join(tmpdir(), 'nbd-mirror-'));
    for (const name of ['source', 'target']) await memory(name, MiB);
  });
  afterEach(async () => {
    await rig.close();
    rmSync(directory, { recursive: true });
  });
  const memory = (name: string, size: number) =>
    rig.dispatcher.call('blockdev-add', { driver: 'x-memory', 'node-name': name, size });
  const mirror = (more: object = {}) =>
    rig.dispatcher.execute('blockdev-mirror', {
      'job-id': 'm0',
      device: 'source',
      target: 'target',
      sync: 'full',
      ...more,
    });

  it('does not share its target with a node that writes to it', async () => {
    const raw = { driver: 'raw', 'node-name': 'raw', file: 'target' } as const;
    await rig.dispatcher.call('blockdev-add', raw);
    await expect(mirror()).rejects.toThrow("Permission conflict on node 'target'");
    await rig.dispatcher.call('blockdev-del', { 'node-name': 'raw' });
    await mirror();
    await expect(rig.dispatcher.call('blockdev-add', raw)).rejects.toThrow(
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
  });

  it.each(['raw', 'throttle'] as const)('nor with who writes below a %s', async (driver) => {
    const group = { 'qom-type': 'throttle-group', id: 'g', limits: { 'iops-total': 1000 } };
    await rig.dispatcher.execute('object-add', group);
    const top = { driver, 'node-name': 'top', file: 'target', 'throttle-group': 'g' };
    const { 'throttle-group': _, ...raw } = top;
    await rig.dispatcher.execute('blockdev-add', driver === 'raw' ? raw : top);
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
    await rig.dispatcher.call('nbd-server-start', { addr });
    const given = { type: 'nbd', id: 'e0', 'node-name': 'target', writable: true } as const;
    await rig.dispatcher.call('block-export-add', given);
    const conflict = "Permission conflict on node 'target': it is written to by export e0";
    await expect(mirror({ target: 'top' })).rejects.toThrow(conflict);
    await rig.dispatcher.call('block-export-del', { id: 'e0' });
    await mirror({ target: 'top' });
    const busy = "Node 'top' is busy: block device is in use by block job: mirror";
    await expect(rig.dispatcher.call('block-export-add', given)).rejects.toThrow(busy);
    await rig.dispatcher.call('block-export-add', { ...given, writable: false });
  });

  it('may stand beside a window that nobody writes through, until somebody does', async () => {
    const window = { driver: 'raw', file: 'target', size: MiB / 2 } as const;
    await memory('half', MiB / 2);
    await rig.dispatcher.call('blockdev-add', { ...window, 'node-name': 'w1' });
    await rig.dispatcher.call('blockdev-add', { ...window, 'node-name': 'w2', offset: MiB / 2 });
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
    await rig.dispatcher.call('nbd-server-start', { addr });
    const given = { type: 'nbd', id: 'e0', 'node-name': 'w2', writable: true } as const;
    await mirror({ device: 'half', target: 'w1' });
    await expect(rig.dispatcher.call('block-export-add', given)).rejects.toThrow(
      "Node 'w1' is busy: block device is in use by block job: mirror",
    );
    await rig.dispatcher.call('block-job-cancel', { device: 'm0', force: true });
    await expect.poll(() => rig.dispatcher.call('query-block-jobs')).toEqual([]);
    await rig.dispatcher.call('block-export-add', given);
    await expect(mirror({ device: 'half', target: 'w1' })).rejects.toThrow(
      "Permission conflict on node 'target': it is written to by node w2",
    );
  });

  it('nor with who writes from now on what he has only read', async () => {
    await mirror();
    const raw = { driver: 'raw', 'node-name': 'raw', file: 'target' } as const;
    await rig.dispatcher.call('blockdev-add', { ...raw, 'read-only': true });
    await expect(rig.dispatcher.call('blockdev-reopen', { options: [raw] })).rejects.toThrow(
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
    // Who only reads may come and go.
    await rig.dispatcher.call('blockdev-del', { 'node-name': 'raw' });
  });

  it('takes a name from a node that is just being opened, which then is refused', async () => {
    const filename = join(directory, 'disk.img');
    writeFileSync(filename, Buffer.alloc(4096));
    const opening = rig.dispatcher.call('blockdev-add', {
      driver: 'file',
      'node-name': 'wanted',
      filename,
    });
    const refused = expect(opening).rejects.toThrow("Duplicate nodes with node-name='wanted'");
    await mirror({ 'filter-node-name': 'wanted' });
    await refused;
    expect(rig.storage.graph.find('wanted')?.driver).toBe('mirror_top');
  });

  it('does not replace the target of another mirror, and says why', async () => {
    await memory('second', MiB);
    await mirror();
    const more = { 'job-id': 'm1', target: 'second', replaces: 'target' };
    await expect(mirror(more)).rejects.toThrow(
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
  });

  it('has no bitmap that memory could not hold', async () => {
    const size = 512 * BITMAP_GRANULES_MAX + MiB;
    await memory('vast', size);
    await memory('vast-target', size);
    const vast = { device: 'vast', target: 'vast-target' };
    await expect(mirror({ ...vast, granularity: 512 })).rejects.toThrow(
      `Granularity 512 is too small for node 'vast' of ${size} bytes`,
    );
    await mirror({ ...vast, granularity: 64 * KiB, sync: 'none' });
  });
});
