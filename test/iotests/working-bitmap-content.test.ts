import { describe, expect, it } from 'vitest';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { pattern } from '../support/mirror-rig.ts';
import {
  differing,
  failNth,
  GRANULE,
  granulesOf,
  QmpMirrorRig,
} from '../support/qmp-mirror-rig.ts';

const GRANULES = 16;
const SIZE = GRANULES * GRANULE;
const MODES = ['background', 'write-blocking'] as const;

/** A source of which the target lacks these granules, and a bitmap that says so. */
async function makeRig(...dirty: number[]) {
  const rig = new QmpMirrorRig({ size: SIZE });
  await rig.source.write(0, pattern(SIZE, 1));
  await rig.target.write(0, pattern(SIZE, 1));
  for (const granule of dirty) await rig.source.write(granule * GRANULE, pattern(GRANULE, 2));
  const bitmap = await rig.addBitmap('b', ...dirty);
  return { rig, bitmap };
}

const write = async (rig: QmpMirrorRig, granule: number) => {
  await rig.client.node.write(granule * GRANULE + 512, pattern(512, 3));
};

async function end(rig: QmpMirrorRig, id = 'm0'): Promise<void> {
  await rig.call('block-job-cancel', { device: id });
  await rig.told('JOB_STATUS_CHANGE', (data) => data.id === id && data.status === 'null');
}

describe('with a working bitmap there is no scan', () => {
  it.each<[number[]]>([[[]], [[3]], [[3, 9]]])('only what is dirty is read: %j', async (dirty) => {
    const { rig } = await makeRig(...dirty);
    const asked: string[] = [];
    rig.source.meddle = (verb, range) => {
      asked.push(`${verb} ${range.offset / GRANULE}+${range.length / GRANULE}`);
    };
    rig.target.log.length = 0;
    let statuses = 0;
    rig.target.meddle = (verb) => {
      if (verb === 'status') statuses++;
    };
    await rig.mirror({ bitmap: 'b', 'target-is-zero': true });
    await rig.told('BLOCK_JOB_READY');
    expect(asked.filter((one) => one.startsWith('read'))).toEqual(
      dirty.map((granule) => `read ${granule}+1`),
    );
    expect(asked.filter((one) => one.startsWith('status')).length).toBeLessThanOrEqual(
      dirty.length,
    );
    // And one, whether all of the target is allocated.
    expect(statuses).toBeLessThanOrEqual(dirty.length + 1);
    expect(rig.target.log).toEqual([
      ...dirty.map((granule) => `write ${granule * GRANULE}+${GRANULE}`),
      'flush 0+0',
    ]);
  });
});

describe("the job's granularity", () => {
  it.each([512, 4096, 65_536, 1 << 19])('is the bitmap’s: %d', async (granularity) => {
    const { rig } = await makeRig();
    await rig.call('block-dirty-bitmap-add', { node: 'source', name: 'g', granularity });
    await rig.client.node.write(0, pattern(1, 9));
    await rig.mirror({ bitmap: 'g' });
    const { data } = await rig.told('BLOCK_JOB_READY');
    expect(data).toMatchObject({ len: granularity, offset: granularity });
    expect(rig.target.log).toContain(`write 0+${granularity}`);
  });
});

describe.each(MODES)('%s: afterwards the bitmap holds', (copyMode) => {
  it('nothing, when all went well and nobody wrote since', async () => {
    const { rig, bitmap } = await makeRig(1, 2, 7);
    await rig.mirror({ bitmap: 'b', 'copy-mode': copyMode });
    await rig.told('BLOCK_JOB_READY');
    await write(rig, 4);
    await end(rig);
    expect(granulesOf(bitmap)).toEqual([]);
    expect(await differing(rig.source.disk, rig.target.disk)).toEqual([]);
    await write(rig, 5);
    expect(granulesOf(bitmap)).toEqual([5]);
  });

  it('what clients wanted to write while the job was pending', async () => {
    const { rig, bitmap } = await makeRig(1, 2, 7);
    await rig.mirror({ bitmap: 'b', 'copy-mode': copyMode, 'auto-finalize': false });
    await rig.told('BLOCK_JOB_READY');
    await rig.call('block-job-cancel', { device: 'm0' });
    await rig.told('BLOCK_JOB_PENDING');
    const held = write(rig, 6);
    expect(granulesOf(bitmap)).toEqual([]);
    await rig.call('job-finalize', { id: 'm0' });
    await Promise.all([held, rig.status('null')]);
    expect(granulesOf(bitmap)).toEqual([6]);
    expect(await differing(rig.source.disk, rig.target.disk)).toEqual([6]);
  });

  it.each(['read', 'write'] as const)(
    'exactly what the target lacks, after a %s error',
    async (verb) => {
      const { rig, bitmap } = await makeRig(1, 3, 5, 6, 7, 12);
      failNth(verb === 'read' ? rig.source : rig.target, verb, 3);
      await rig.mirror({ bitmap: 'b', 'copy-mode': copyMode, 'buf-size': GRANULE });
      await rig.told('BLOCK_JOB_COMPLETED', ({ error }) => error === 'Input/output error');
      await rig.status('null');
      expect(granulesOf(bitmap)).toEqual([5, 6, 7, 12]);
      expect(await differing(rig.source.disk, rig.target.disk)).toEqual([5, 6, 7, 12]);
    },
  );

  it('exactly what the target lacks, after a cancel while a copy hangs', async () => {
    const { rig, bitmap } = await makeRig(1, 3, 5, 7);
    let writes = 0;
    rig.target.meddle = (verb) =>
      verb === 'write' && ++writes === 2 ? new Promise(() => {}) : undefined;
    await rig.mirror({ bitmap: 'b', 'copy-mode': copyMode, 'buf-size': GRANULE });
    await expect.poll(() => writes).toBe(2);
    expect(granulesOf(bitmap)).toEqual([5, 7]);
    await end(rig);
    expect(granulesOf(bitmap)).toEqual([3, 5, 7]);
    expect(await differing(rig.source.disk, rig.target.disk)).toEqual([3, 5, 7]);
  });

  it('what has had no turn, after a cancel: a granule is copied in whole', async () => {
    const { rig, bitmap } = await makeRig(1, 3);
    rig.target.log.length = 0;
    await rig.mirror({ bitmap: 'b', 'copy-mode': copyMode, speed: 1 });
    await expect.poll(() => rig.target.log.some((line) => line.startsWith('write'))).toBe(true);
    await end(rig);
    expect(granulesOf(bitmap)).toEqual([3]);
    expect(await differing(rig.source.disk, rig.target.disk)).toEqual([3]);
  });
});

describe('several bitmaps on one source', () => {
  it('record by themselves while one of them works', async () => {
    const { rig, bitmap } = await makeRig(1);
    const other = await rig.addBitmap('other', 2);
    const off = await rig.addBitmap('off');
    await rig.call('block-dirty-bitmap-disable', { node: 'source', name: 'off' });
    await rig.mirror({ bitmap: 'b', 'copy-mode': 'write-blocking' });
    await rig.told('BLOCK_JOB_READY');
    await write(rig, 4);
    expect([bitmap, other, off].map(granulesOf)).toEqual([[], [2, 4], []]);
    await end(rig);
    await write(rig, 5);
    expect([bitmap, other, off].map(granulesOf)).toEqual([[5], [2, 4, 5], []]);
  });

  it('work for two mirrors at the same time', async () => {
    const { rig, bitmap } = await makeRig(1);
    const other = await rig.addBitmap('other', 2, 3);
    const second = rig.addNode('second', new MemoryNode('second', { size: SIZE }));
    await second.write(0, pattern(SIZE, 1));
    await rig.mirror({ bitmap: 'b' });
    const again = rig.mirror({ 'job-id': 'm1', target: 'second', bitmap: 'b' });
    await expect(again).rejects.toThrow("Bitmap 'b' is currently in use by another operation");
    await rig.mirror({ 'job-id': 'm1', target: 'second', bitmap: 'other' });
    for (const device of ['m0', 'm1']) {
      await rig.told('BLOCK_JOB_READY', (data) => data.device === device);
    }
    await write(rig, 6);
    await end(rig, 'm0');
    await write(rig, 7);
    expect([bitmap.busy, other.busy]).toEqual([false, true]);
    await end(rig, 'm1');
    await write(rig, 8);
    expect([bitmap, other].map(granulesOf)).toEqual([[7, 8], [8]]);
    expect(await differing(rig.source.disk, rig.target.disk)).toEqual([7, 8]);
    // Granule 1 was the first target's to get: the second one's bitmap never had it.
    expect(await differing(rig.source.disk, second.disk)).toEqual([1, 8]);
  });
});

describe('after a pivot', () => {
  it('the bitmap stays with the old source, and records what is written there', async () => {
    const { rig, bitmap } = await makeRig(1);
    await rig.mirror({ bitmap: 'b' });
    await rig.told('BLOCK_JOB_READY');
    await rig.call('job-complete', { id: 'm0' });
    await rig.status('null');
    expect(rig.client.node).toBe(rig.target);
    await write(rig, 4);
    expect(await rig.shown('b')).toMatchObject({ busy: false, recording: true, count: 0 });
    expect(rig.target.findBitmap('b')).toBeUndefined();
    await rig.source.write(5 * GRANULE, pattern(512, 3));
    expect(granulesOf(bitmap)).toEqual([5]);
  });
});
