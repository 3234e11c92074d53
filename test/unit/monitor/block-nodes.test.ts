import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

describe('block nodes', () => {
  let rig: MonitorRig;
  let directory: string;
  let filename: string;
  beforeEach(() => {
    rig = makeMonitorRig();
    directory = mkdtempSync(join(tmpdir(), 'nbd-mirror-nodes-'));
    filename = join(directory, 'disk.img');
    writeFileSync(filename, '');
    truncateSync(filename, 1 << 20);
  });
  afterEach(async () => {
    await rig.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const names = () => rig.storage.graph.nodes().map(({ name }) => name);
  const file = () => ({ driver: 'file', filename }) as const;

  it('take their inline children with them when they go', async () => {
    await rig.dispatcher.call('blockdev-add', {
      driver: 'raw',
      'node-name': 'r',
      'read-only': true,
      file: { ...file(), 'node-name': 'f' },
    });
    expect(names()).toEqual(['f', 'r']);
    expect(rig.storage.graph.find('f')!.readOnly).toBe(true);
    const remove = (name: string) => rig.dispatcher.call('blockdev-del', { 'node-name': name });
    await expect(remove('f')).rejects.toThrow('Node f is not owned by the monitor');
    await remove('r');
    expect(names()).toEqual([]);
  });

  it.each([
    [{ size: 513 }, 'Specified size is not multiple of 512'],
    [{ offset: -1 }, "Value '-1' is out of range for parameter 'offset'"],
    [{ size: -512 }, "Value '-512' is out of range for parameter 'size'"],
  ])('leave nothing behind when they are refused: %j', async (window, reason) => {
    const add = rig.dispatcher.call('blockdev-add', {
      driver: 'raw',
      'node-name': 'r',
      file: file(),
      ...window,
    });
    await expect(add).rejects.toThrow(reason);
    expect(names()).toEqual([]);
    // Neither the name nor the lock on the file is taken.
    await rig.dispatcher.call('blockdev-add', { ...file(), 'node-name': 'r' });
  });

  it('cannot be added twice at the same time', async () => {
    const add = () => rig.dispatcher.call('blockdev-add', { ...file(), 'node-name': 'f' });
    const results = await Promise.allSettled([add(), add()]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(names()).toEqual(['f']);
  });

  it('refuse to go while somebody uses them', async () => {
    await rig.dispatcher.call('blockdev-add', { ...file(), 'node-name': 'f' });
    const { graph } = rig.storage;
    const remove = () => rig.dispatcher.call('blockdev-del', { 'node-name': 'f' });
    const use = graph.use(graph.find('f')!, { kind: 'export', name: 'e0' }, { writable: true });
    await expect(remove()).rejects.toThrow('Node f is in use');
    use.release();
    const unblock = graph.block(graph.find('f')!, 'because', 'writers');
    await expect(remove()).rejects.toThrow("Node 'f' is busy: because");
    unblock();
    await remove();
  });

  it('say which server cannot be reached', async () => {
    const path = join(directory, 'nobody');
    const add = rig.dispatcher.call('blockdev-add', {
      driver: 'nbd',
      'node-name': 'n',
      server: { type: 'unix', path },
    });
    await expect(add).rejects.toThrow(/^Cannot open node "n": .*nobody/);
    expect(names()).toEqual([]);
  });

  it('say which nodes they are on', async () => {
    const memory = { driver: 'x-memory', size: 1 << 20 } as const;
    for (const name of ['disk', 'copy']) {
      await rig.dispatcher.call('blockdev-add', { ...memory, 'node-name': name });
    }
    const raw = { driver: 'raw', 'node-name': 'r', file: 'disk' } as const;
    await rig.dispatcher.call('blockdev-add', raw);
    await rig.dispatcher.call('blockdev-mirror', {
      'job-id': 'm0',
      device: 'r',
      target: 'copy',
      sync: 'none',
      'filter-node-name': 'top',
    });
    const shown = await rig.dispatcher.call('query-named-block-nodes');
    const children = shown.map((node) => [node['node-name'], node.children]);
    expect(Object.fromEntries(children)).toEqual({
      disk: [],
      copy: [],
      r: [{ child: 'file', 'node-name': 'disk' }],
      top: [{ child: 'backing', 'node-name': 'r' }],
    });
  });

  it('are shown by name, or as options when they have none, also with a filter', async () => {
    const options = { driver: 'raw', 'node-name': 'r', file: 'f', offset: 512 } as const;
    await rig.dispatcher.call('blockdev-add', { ...file(), 'node-name': 'f' });
    await rig.dispatcher.call('blockdev-add', options);
    const memory = { driver: 'x-memory', 'node-name': 'm', size: 1 << 20 } as const;
    await rig.dispatcher.call('blockdev-add', memory);
    await rig.dispatcher.call('blockdev-mirror', {
      'job-id': 'm0',
      device: 'r',
      target: 'm',
      sync: 'none',
    });
    const shown = await rig.dispatcher.call('query-named-block-nodes');
    const window = 'json:{"driver": "raw", "file": "f", "offset": 512}';
    expect(shown.map((node) => [node.drv, node.file])).toEqual([
      // What is below it is a part of the file alone.
      ['mirror_top', window],
      ['x-memory', 'json:{"driver": "x-memory", "size": 1048576}'],
      ['raw', window],
      ['file', filename],
    ]);
  });
});
