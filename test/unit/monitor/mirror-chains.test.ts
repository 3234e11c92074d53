import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KiB } from '../../../src/util/limits.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

/** Several mirrors on each other's disks, and what stands beside them. */
const SIZE = 256 * KiB;
const BUSY = 'is busy: block device is in use by block job: mirror';
let rig: MonitorRig;

beforeEach(async () => {
  rig = makeMonitorRig();
  for (const name of ['a', 'b', 'c']) {
    await run('blockdev-add', { driver: 'x-memory', 'node-name': name, size: SIZE });
  }
});
afterEach(() => rig.close());

const run = (command: string, given: object) => rig.dispatcher.execute(command, given);
const node = (name: string) => rig.storage.graph.find(name)!;
const told = (event: string, id: string) =>
  expect
    .poll(() => rig.events)
    .toContainEqual(
      expect.objectContaining({ event, data: expect.objectContaining({ device: id }) }),
    );

/** Resolves when it is READY. */
async function mirror(id: string, device: string, target: string, more: object = {}) {
  await run('blockdev-mirror', { 'job-id': id, device, target, sync: 'full', ...more });
  await told('BLOCK_JOB_READY', id);
}

async function end(id: string, how: 'job-complete' | 'block-job-cancel') {
  await run(how, how === 'job-complete' ? { id } : { device: id });
  await told('BLOCK_JOB_COMPLETED', id);
}

async function begins(name: string): Promise<string> {
  const data = Buffer.alloc(5);
  await node(name).read(0, data);
  return data.toString();
}

describe('a mirror of a mirror’s target', () => {
  beforeEach(async () => {
    await mirror('m0', 'a', 'b');
    await mirror('m1', 'b', 'c');
  });

  it('does not move the other to its own target', async () => {
    await expect(run('job-complete', { id: 'm1' })).rejects.toThrow(
      "Job 'm1' cannot be completed yet: job 'm0' mirrors to its source, and would go on to " +
        'another disk; end that one first',
    );
    await end('m0', 'block-job-cancel');
    await end('m1', 'job-complete');
  });

  it('nor does a younger one, whose filter is below that of the older', async () => {
    await run('blockdev-add', { driver: 'x-memory', 'node-name': 'd', size: SIZE });
    await mirror('m2', 'b', 'd');
    await expect(run('job-complete', { id: 'm2' })).rejects.toThrow(
      "job 'm0' mirrors to its source",
    );
    await end('m0', 'block-job-cancel');
    await end('m2', 'job-complete');
  });
});

it('clients of a window do not leave a disk that is mirrored below it', async () => {
  await mirror('m0', 'a', 'b', { 'filter-node-name': 'low' });
  await run('blockdev-add', { driver: 'raw', 'node-name': 'window', file: 'a' });
  await mirror('m1', 'window', 'c');
  await expect(run('job-complete', { id: 'm1' })).rejects.toThrow(
    "Job 'm1' cannot be completed yet: the mirror with filter 'low' sits below it",
  );
  await end('m0', 'block-job-cancel');
  await end('m1', 'job-complete');
});

describe('of two mirrors of one disk', () => {
  it('the one that stays sees who stands on what the other has moved the clients to', async () => {
    const beside = { driver: 'raw', 'node-name': 'beside', file: 'c' };
    await run('blockdev-add', { ...beside, 'read-only': true });
    await mirror('m0', 'a', 'b');
    await mirror('m1', 'a', 'c');
    await end('m1', 'job-complete');
    await run('blockdev-reopen', { options: [beside] });
    await node('beside').write(0, Buffer.from('fresh'));
    await end('m0', 'block-job-cancel');
    expect([await begins('c'), await begins('b')]).toEqual(['fresh', 'fresh']);
  });

  it('nobody writes past the one that stays', async () => {
    for (const name of ['upper', 'beside']) {
      await run('blockdev-add', { driver: 'raw', 'node-name': name, file: 'c' });
    }
    await mirror('m0', 'a', 'b');
    await mirror('m1', 'a', 'upper');
    await end('m1', 'job-complete');
    const writer = { type: 'nbd', id: 'e0', 'node-name': 'beside', writable: true };
    await expect(run('block-export-add', writer)).rejects.toThrow(`Node 'c' ${BUSY}`);
  });

  it('the one that stays keeps its bitmap, though the clients have left the disk', async () => {
    await run('block-dirty-bitmap-add', { node: 'a', name: 'work' });
    await mirror('m0', 'a', 'b', { bitmap: 'work' });
    await mirror('m1', 'a', 'c');
    await end('m1', 'job-complete');
    const del = () => run('blockdev-del', { 'node-name': 'a' });
    await expect(del()).rejects.toThrow(
      "Bitmap 'work' is currently in use by another operation and cannot be used",
    );
    await end('m0', 'block-job-cancel');
    await del();
  });
});

describe('the filter of a mirror', () => {
  beforeEach(() => mirror('m0', 'a', 'b', { 'filter-node-name': 'top' }));

  it.each([
    ['a', "Can't mirror node into itself"],
    ['b', `Node 'top' ${BUSY}`],
    ['c', `Node 'top' ${BUSY}`],
  ])('is no target for %s', async (device, sentence) => {
    await expect(mirror('m1', device, 'top')).rejects.toThrow(sentence);
  });
});

describe('a mirror', () => {
  const add = { driver: 'raw', 'node-name': 'upper', file: 'a' };
  const e0 = { type: 'nbd', id: 'e0', 'node-name': 'a', writable: true };

  beforeEach(async () => {
    await run('blockdev-add', add);
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } };
    await run('nbd-server-start', { addr });
  });

  it('is refused where somebody writes below its source', async () => {
    await run('block-export-add', e0);
    await expect(mirror('m0', 'upper', 'b')).rejects.toThrow(
      "Permission conflict on node 'a': it is written to by export e0, and a mirror of node " +
        "'upper' would not see that",
    );
    await run('block-export-del', { id: 'e0' });
    await mirror('m0', 'upper', 'b');
  });

  it('lets nobody write there while it runs, but for those who pass it', async () => {
    await run('block-export-add', { ...e0, writable: false });
    await mirror('m0', 'upper', 'b');
    // The youngest sits lowest: who comes to the disk passes both.
    await mirror('m1', 'upper', 'c');
    const writer = { ...e0, id: 'e1', name: 'e1' };
    await expect(run('block-export-add', writer)).rejects.toThrow(`Node 'a' ${BUSY}`);
    await run('blockdev-add', { ...add, 'node-name': 'another' });
    const past = { ...writer, 'node-name': 'another' };
    await expect(run('block-export-add', past)).rejects.toThrow(`Node 'a' ${BUSY}`);
    await run('blockdev-add', { driver: 'x-memory', 'node-name': 'd', size: SIZE });
    await expect(mirror('m2', 'd', 'another')).rejects.toThrow(`Node 'a' ${BUSY}`);
    await run('block-export-add', { ...writer, 'node-name': 'upper' });
    await run('block-export-del', { id: 'e1' });
    await end('m1', 'block-job-cancel');
    await end('m0', 'block-job-cancel');
    await run('block-export-add', writer);
  });
});

describe('a mirror of one partition', () => {
  const half = { driver: 'raw', file: 'a', size: SIZE / 2 };
  const writer = { type: 'nbd', writable: true };

  beforeEach(async () => {
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } };
    await run('nbd-server-start', { addr });
    await run('blockdev-add', { ...half, 'node-name': 'first' });
    await run('blockdev-add', { ...half, 'node-name': 'second', offset: SIZE / 2 });
    await run('blockdev-add', { driver: 'x-memory', 'node-name': 'copy', size: SIZE / 2 });
  });

  it('has nothing to do with who writes to another', async () => {
    for (const id of ['first', 'second']) {
      await run('block-export-add', { ...writer, id, 'node-name': id });
    }
    await mirror('m0', 'first', 'copy');
    await run('block-export-del', { id: 'second' });
    await run('block-export-add', { ...writer, id: 'second', 'node-name': 'second' });
    await end('m0', 'job-complete');
  });

  it('but with who writes to all of them', async () => {
    await mirror('m0', 'first', 'copy');
    const all = { ...writer, id: 'all', 'node-name': 'a' };
    await expect(run('block-export-add', all)).rejects.toThrow(`Node 'a' ${BUSY}`);
  });
});

it('a disk below a mirrored one is made writable together with it', async () => {
  const lower = { driver: 'x-memory', 'node-name': 'lower', size: SIZE };
  const upper = { driver: 'raw', 'node-name': 'upper', file: 'lower' };
  await run('blockdev-add', { ...lower, 'read-only': true });
  await run('blockdev-add', { ...upper, 'read-only': true });
  await mirror('m0', 'upper', 'b');
  await run('blockdev-reopen', { options: [lower, upper] });
});
