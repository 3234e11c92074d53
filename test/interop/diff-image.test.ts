import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import type { CopyMode } from '../../src/block/mirror-top.ts';
import { ZERO_MAY_UNMAP } from '../../src/block/node.ts';
import { contents, MirrorRig, pattern } from '../support/mirror-rig.ts';
import { openNbdNode } from '../support/open-nbd-node.ts';
import { describePeers, startQemuNbd, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

const KiB = 1024;
const SIZE = 4096 * KiB;
const CLUSTER = 64 * KiB;

/**
 * A working bitmap's mirror into a diff image: an empty qcow2 image that gets its base, the disk as
 * it was when the bitmap was made, only afterwards. Returns whether both together are the source.
 */
async function mergesWell(options: {
  granularity: number;
  copyMode?: CopyMode;
  targetClusterSize?: number;
}): Promise<boolean> {
  const { granularity, ...mirror } = options;
  const directory = await tempDir();
  const [base, diff] = [join(directory, 'base.raw'), join(directory, 'diff.qcow2')];
  const rig = new MirrorRig({ size: SIZE });
  await rig.source.write(0, pattern(SIZE, 1));
  await writeFile(base, await contents(rig.source));
  const bitmap = new DirtyBitmap({ name: 'b', size: SIZE, granularity });
  rig.source.addBitmap(bitmap);
  rig.source.setRecording(bitmap, true);
  await rig.client.node.write(2 * CLUSTER + 8 * KiB, pattern(4 * KiB, 2));
  // Zeroes where the base has data: the empty image reads as zeroes there as well, by chance.
  await rig.client.node.writeZeroes(5 * CLUSTER, CLUSTER, ZERO_MAY_UNMAP);

  const { target, server } = await addDiffImage(rig, diff);
  const job = rig.mirror({ target, bitmap: 'b', ...mirror });
  await rig.ready();
  await rig.client.node.write(9 * CLUSTER + 16 * KiB, pattern(4 * KiB, 3));
  await rig.client.node.writeZeroes(11 * CLUSTER + 4 * KiB, 8 * KiB);
  await expect.poll(() => bitmap.isClean && job.progressCurrent === job.progressTotal).toBe(true);
  job.cancel({ force: false });
  await job.ended;
  expect(job.error).toBeUndefined();

  await server.process.stop();
  return isMerged(rig, directory);
}

/** An empty image of the size of the source, as the target of a mirror to come. */
async function addDiffImage(rig: MirrorRig, diff: string) {
  const create = ['create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER}`];
  await mustRun('qemu-img', [...create, diff, `${SIZE}`]);
  const server = await startQemuNbd({ file: diff, format: 'qcow2' });
  const target = await openNbdNode(server.socket, { name: 'diff' });
  rig.graph.add(target);
  return { target, server };
}

/** Whether `diff.qcow2` above `base.raw` is what the source is. */
async function isMerged(rig: MirrorRig, directory: string): Promise<boolean> {
  const [base, diff] = [join(directory, 'base.raw'), join(directory, 'diff.qcow2')];
  await mustRun('qemu-img', ['rebase', '-u', '-F', 'raw', '-b', base, diff]);
  const merged = join(directory, 'merged.raw');
  await mustRun('qemu-img', ['convert', '-O', 'raw', diff, merged]);
  const source = join(directory, 'source.raw');
  await writeFile(source, await contents(rig.source));
  const [is, shouldBe] = await Promise.all([readFile(merged), readFile(source)]);
  return is.equals(shouldBe);
}

describePeers('a mirror into a diff image', ['qemu-nbd', 'qemu-img'], () => {
  it('merges into the source when a granule is a cluster or more', async () => {
    expect(await mergesWell({ granularity: CLUSTER })).toBe(true);
    expect(await mergesWell({ granularity: 4 * CLUSTER })).toBe(true);
  });

  it('loses what is around a write when granules are smaller, as documented', async () => {
    expect(await mergesWell({ granularity: 4 * KiB })).toBe(false);
  });

  it('loses what is around an unaligned synchronous write, as documented', async () => {
    expect(await mergesWell({ granularity: CLUSTER, copyMode: 'write-blocking' })).toBe(false);
  });

  it.each(['background', 'write-blocking'] as const)(
    'merges into the source in %s mode when it is told the size of clusters',
    async (copyMode) => {
      const options = { copyMode, targetClusterSize: CLUSTER };
      expect(await mergesWell({ granularity: 4 * KiB, ...options })).toBe(true);
      expect(await mergesWell({ granularity: 4 * CLUSTER, ...options })).toBe(true);
    },
  );

  it('keeps zeroes of clients where its base has data, with sync none', async () => {
    const directory = await tempDir();
    const rig = new MirrorRig({ size: SIZE });
    await rig.source.write(0, pattern(SIZE, 1));
    await writeFile(join(directory, 'base.raw'), await contents(rig.source));
    const { target, server } = await addDiffImage(rig, join(directory, 'diff.qcow2'));
    const job = rig.mirror({ target, sync: 'none' });
    await rig.ready();
    await rig.client.node.writeZeroes(5 * CLUSTER, CLUSTER, ZERO_MAY_UNMAP);
    await rig.client.node.write(9 * CLUSTER, pattern(CLUSTER, 3));
    await expect.poll(() => job.progressCurrent).toBe(2 * CLUSTER);
    job.cancel({ force: false });
    await job.ended;
    await server.process.stop();
    expect(await isMerged(rig, directory)).toBe(true);
  });
});
