import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

let rig: MonitorRig;
let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nbd-mirror-test-'));
  path = join(directory, 'nbd.sock');
  rig = makeMonitorRig();
  await run('blockdev-add', { driver: 'x-memory', 'node-name': 'm', size: 1 << 20 });
  await run('block-dirty-bitmap-add', { node: 'm', name: 'b' });
  await run('nbd-server-start', { addr: { type: 'unix', data: { path } } });
  const bitmaps = ['b'];
  await run('block-export-add', {
    type: 'nbd',
    id: 'e',
    'node-name': 'm',
    writable: true,
    bitmaps,
  });
});
afterEach(async () => {
  await rig.close();
  await rm(directory, { recursive: true });
});

const run = (command: string, given: object) => rig.dispatcher.execute(command, given);
const addNbd = (context: string, more: object = {}) =>
  run('blockdev-add', {
    ...more,
    driver: 'nbd',
    'node-name': 'n',
    server: { type: 'unix', path },
    export: 'm',
    'x-dirty-bitmap': context,
  });

describe('x-dirty-bitmap of an nbd node', () => {
  it('makes dirty what block status calls a hole', async () => {
    await addNbd('qemu:dirty-bitmap:b');
    const node = rig.storage.graph.find('n')!;
    await node.write(131_072, Buffer.alloc(1, 1));
    expect(await node.blockStatus(0, 1 << 20, 10)).toEqual([
      { offset: 0, length: 131_072, hole: false, zero: false },
      { offset: 131_072, length: 65_536, hole: true, zero: false },
      { offset: 196_608, length: (1 << 20) - 196_608, hole: false, zero: false },
    ]);
    await run('blockdev-del', { 'node-name': 'n' });
  });

  it('is refused when the server does not have it', async () => {
    await expect(addNbd('qemu:dirty-bitmap:zz')).rejects.toThrow(
      'requested x-dirty-bitmap qemu:dirty-bitmap:zz not found',
    );
  });

  it('is not taken for clean when the server comes back without it', async () => {
    await addNbd('qemu:dirty-bitmap:b', { 'reconnect-delay': 10 });
    const node = rig.storage.graph.find('n')!;
    await run('nbd-server-stop', {});
    await run('nbd-server-start', { addr: { type: 'unix', data: { path } } });
    const again = { type: 'nbd', id: 'e', 'node-name': 'm', writable: true };
    await run('block-export-add', again);
    const asked = async () => node.blockStatus(0, 1 << 20, 10);
    await expect(asked()).rejects.toThrow('it has no qemu:dirty-bitmap:b any more');
    await run('blockdev-del', { 'node-name': 'n' });
  });
});
