import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Arguments } from '../../protocol/qmp/schema.ts';
import type { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { pattern } from '../support/mirror-rig.ts';
import { tempDir } from '../support/peers.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

const MiB = 1 << 20;
type Given = Partial<Arguments<'blockdev-mirror'>>;

let rig: QmpMirrorRig;
let bitmap: DirtyBitmap;
beforeEach(async () => {
  rig = new QmpMirrorRig({ size: MiB });
  bitmap = await rig.addBitmap('b', 1);
});

/** What is there and who holds what: the same before and after a refusal. */
async function state() {
  const { storage, events } = rig.monitor;
  const users = storage.graph.nodes().map((node) => storage.graph.usersOf(node).length);
  return [
    await rig.call('query-named-block-nodes'),
    await rig.call('query-jobs'),
    users,
    events.length,
  ];
}

async function expectRefusal(given: object, message: string): Promise<void> {
  const before = await state();
  const arguments_ = { 'job-id': 'm0', device: 'source', target: 'target', sync: 'full', ...given };
  const refused = rig.monitor.dispatcher.execute('blockdev-mirror', arguments_);
  await expect(refused).rejects.toMatchObject({ message, errorClass: 'GenericError' });
  expect(await state()).toEqual(before);
}

const disk = () => new MemoryNode('second', { size: MiB });

const IN_USE = "Bitmap 'b' is currently in use by another operation and cannot be used";
const READ_ONLY = "Bitmap 'b' is readonly and cannot be modified";
const INCONSISTENT = "Bitmap 'b' is inconsistent and cannot be used";

describe('the arguments of a working bitmap, in the order in which they are checked', () => {
  const RANGE = "Parameter 'granularity' expects a value in range [512B, 64MB]";
  const CLUSTER_RANGE = "Parameter 'x-target-cluster-size' expects a value in range [512B, 2MB]";
  const BOTH = 'Granularity and bitmap cannot both be set';
  it.each<[Given, string]>([
    [{ bitmap: 'no', granularity: 100, sync: 'top' }, RANGE],
    [{ bitmap: 'no', granularity: 1000 }, "Parameter 'granularity' expects a power of 2"],
    [{ bitmap: 'no', 'x-target-cluster-size': 0 }, CLUSTER_RANGE],
    [{ bitmap: 'no', 'x-target-cluster-size': 256 }, CLUSTER_RANGE],
    [{ bitmap: 'no', 'x-target-cluster-size': 4 * MiB }, CLUSTER_RANGE],
    [{ 'x-target-cluster-size': 1536 }, "Parameter 'x-target-cluster-size' expects a power of 2"],
    [{ bitmap: 'no', granularity: 512, sync: 'top' }, "Sync mode 'top' not supported with bitmap."],
    [{ bitmap: 'no', sync: 'none' }, "Sync mode 'none' not supported with bitmap."],
    [{ bitmap: 'b', sync: 'top' }, "Sync mode 'top' not supported with bitmap."],
    [{ bitmap: 'no', granularity: 65_536 }, BOTH],
    [{ bitmap: 'b', granularity: 65_536 }, BOTH],
    [{ bitmap: 'no', granularity: 0 }, "Dirty bitmap 'no' not found"],
    [{ bitmap: '' }, "Dirty bitmap '' not found"],
  ])('%j is refused', async (given, message) => {
    await expectRefusal(given, message);
  });

  it.each<[string, Partial<Pick<DirtyBitmap, 'busy' | 'readOnly' | 'inconsistent'>>, string]>([
    ['busy', { busy: true, readOnly: true, inconsistent: true }, IN_USE],
    ['read-only', { readOnly: true, inconsistent: true }, READ_ONLY],
    ['inconsistent', { inconsistent: true }, INCONSISTENT],
    ['disabled', {}, "Bitmap 'b' is not enabled"],
  ])('one that is %s is refused, whatever is wrong with it besides', async (_what, is, message) => {
    await rig.call('block-dirty-bitmap-disable', { node: 'source', name: 'b' });
    Object.assign(bitmap, is);
    await expectRefusal({ bitmap: 'b', 'buf-size': -1 }, message);
  });

  it('a target in use is told of before the bitmap', async () => {
    await rig.mirror({ 'job-id': 'other' });
    await expectRefusal(
      { bitmap: 'no' },
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
  });

  it('granularity 0 is none at all', async () => {
    await rig.mirror({ bitmap: 'b', granularity: 0 });
    await rig.told('BLOCK_JOB_READY');
  });
});

describe('where a working bitmap is looked for', () => {
  it('is the source itself: not the target, not the filter on it', async () => {
    await rig.call('block-dirty-bitmap-add', { node: 'target', name: 'onTarget' });
    await expectRefusal({ bitmap: 'onTarget' }, "Dirty bitmap 'onTarget' not found");
    await rig.mirror({ 'filter-node-name': 'top' });
    await rig.told('BLOCK_JOB_READY');
    await rig.call('block-dirty-bitmap-add', { node: 'top', name: 'onFilter' });
    const second = rig.addNode('second', disk());
    const given = { 'job-id': 'm1', target: second.name };
    await expectRefusal({ ...given, bitmap: 'onFilter' }, "Dirty bitmap 'onFilter' not found");
    await expectRefusal({ ...given, device: 'top', bitmap: 'b' }, "Dirty bitmap 'b' not found");
  });
});

describe('a working bitmap that a client of NBD looks at', () => {
  it('is busy until the export is gone', async () => {
    const path = join(await tempDir(), 'nbd.sock');
    await rig.call('nbd-server-start', { addr: { type: 'unix', data: { path } } });
    await rig.call('block-export-add', {
      type: 'nbd',
      id: 'e0',
      'node-name': 'source',
      writable: true,
      bitmaps: ['b'],
    });
    await expectRefusal({ bitmap: 'b' }, IN_USE);
    await rig.call('block-export-del', { id: 'e0' });
    await rig.told('BLOCK_EXPORT_DELETED');
    await rig.mirror({ bitmap: 'b' });
    await rig.told('BLOCK_JOB_READY');
  });
});

describe('the sync modes of the Proxmox dialect', () => {
  it.each(['incremental', 'bitmap'] as const)('%s is refused in words of QEMU', async (sync) => {
    await expectRefusal({ sync }, `Sync mode '${sync}' not supported`);
    await expectRefusal({ sync, bitmap: 'b' }, `Sync mode '${sync}' not supported with bitmap.`);
    await expectRefusal({ sync, bitmap: 'no' }, `Sync mode '${sync}' not supported with bitmap.`);
  });

  it('bitmap-mode is no argument', async () => {
    const message = "Parameter 'bitmap-mode' is unexpected";
    await expectRefusal({ bitmap: 'b', 'bitmap-mode': 'always' }, message);
  });
});

describe('a mirror that cannot start for another reason', () => {
  const INTO_ITSELF = "Can't mirror node into itself";
  const NO_TARGET = "Cannot find device='no' nor node-name='no'";
  const WRONG_GRANULARITY = "Parameter 'granularity' expects a value in range [512B, 64MB]";
  const NO_NODE = "Failed to find node with node-name='no'";
  it.each<[string, Given, string]>([
    ['the buffer', { 'buf-size': -1 }, "Invalid parameter 'buf-size'"],
    ['the filter’s name', { 'filter-node-name': '1' }, "Invalid node-name: '1'"],
    [
      'a filter’s name that is taken',
      { 'filter-node-name': 'target' },
      "Duplicate nodes with node-name='target'",
    ],
    ['the job’s name', { 'job-id': '1' }, "Invalid job ID '1'"],
    ['the speed', { speed: -1 }, "Parameter 'speed' expects a non-negative value"],
    ['a mirror into itself', { target: 'source' }, INTO_ITSELF],
    ['a target that is not there', { target: 'no' }, NO_TARGET],
    ['a node to replace that is not there', { replaces: 'no' }, NO_NODE],
  ])('because of %s leaves the bitmap as it was', async (_what, given, message) => {
    await expectRefusal({ bitmap: 'b', ...given }, message);
    await expectRecords();
  });

  it.each<[string, Given, string]>([
    ['the granularity', { granularity: 5 }, WRONG_GRANULARITY],
    ['the bitmap', { bitmap: 'none' }, "Dirty bitmap 'none' not found"],
  ])('because of %s, before the node to replace is looked at', async (_what, given, message) => {
    await expectRefusal({ replaces: 'no', ...given }, message);
    await expectRecords();
  });

  it('because the target is read-only leaves the bitmap as it was', async () => {
    rig = new QmpMirrorRig({ size: MiB, targetReadOnly: true });
    bitmap = await rig.addBitmap('b', 1);
    await expectRefusal({ bitmap: 'b' }, 'Block node is read-only');
    await expectRecords();
  });

  it('because the job’s name is taken leaves the bitmap as it was', async () => {
    rig.addNode('second', disk());
    await rig.mirror({ 'job-id': 'm0', target: 'second' });
    await rig.told('BLOCK_JOB_READY');
    await expectRefusal({ bitmap: 'b' }, "Job ID 'm0' already in use");
    await expectRecords();
  });

  it('because the running job finds other sizes gives the bitmap back', async () => {
    rig = new QmpMirrorRig({ size: MiB, targetSize: 2 * MiB });
    bitmap = await rig.addBitmap('b', 1);
    await rig.mirror({ bitmap: 'b' });
    const end = await rig.told('BLOCK_JOB_COMPLETED');
    expect(end.data).toMatchObject({ error: 'Source and target image have different sizes' });
    await rig.status('null');
    await expectRecords();
  });

  async function expectRecords(): Promise<void> {
    const before = { busy: false, recording: true, count: GRANULE };
    expect(await rig.shown('b')).toMatchObject(before);
    await rig.client.node.write(3 * GRANULE, pattern(512, 1));
    expect((await rig.shown('b'))!.count).toBe(2 * GRANULE);
  }
});
