import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

let rig: MonitorRig;
beforeEach(() => {
  rig = makeMonitorRig();
});
afterEach(() => rig.close());

const run = (command: string, given: object) => rig.dispatcher.execute(command, given);

describe('objects', () => {
  it('are shared by nodes, and stay while a node needs them', async () => {
    const group = { 'qom-type': 'throttle-group', id: 'tg', limits: { 'iops-total': 5 } };
    await run('object-add', group);
    await run('blockdev-add', { driver: 'x-memory', 'node-name': 'm', size: 4096 });
    for (const name of ['t0', 't1']) {
      const node = { driver: 'throttle', 'node-name': name, 'throttle-group': 'tg', file: 'm' };
      await run('blockdev-add', node);
    }
    for (const name of ['t0', 't1']) {
      await expect(run('object-del', { id: 'tg' })).rejects.toThrow('is in use, can not be');
      await run('blockdev-del', { 'node-name': name });
    }
    await run('object-del', { id: 'tg' });
  });

  it('are not kept by a node that could not be made', async () => {
    await run('object-add', { 'qom-type': 'throttle-group', id: 'tg' });
    const memory = { driver: 'x-memory', size: 4096 };
    const node = { driver: 'throttle', 'node-name': 't', 'throttle-group': 'zz', file: memory };
    await expect(run('blockdev-add', node)).rejects.toThrow("Throttle group 'zz' does not exist");
    expect(rig.storage.graph.nodes()).toEqual([]);
    await run('object-del', { id: 'tg' });
  });

  it('take limits one by one too', async () => {
    const both = { 'x-iops-total': 5, limits: { 'iops-read': 5 } };
    await expect(
      run('object-add', { 'qom-type': 'throttle-group', id: 'tg', ...both }),
    ).rejects.toThrow('total values and read/write values cannot be used at the same time');
    await run('object-add', { 'qom-type': 'throttle-group', id: 'tg', 'x-bps-total': 5 });
  });

  it('refuse a burst length that is none', async () => {
    const limits = { 'iops-total': 1, 'iops-total-max': 1, 'iops-total-max-length': -1 };
    await expect(
      run('object-add', { 'qom-type': 'throttle-group', id: 'tg', limits }),
    ).rejects.toThrow('iops-total-max-length value must be in the range [0, 4294967295]');
  });
});
