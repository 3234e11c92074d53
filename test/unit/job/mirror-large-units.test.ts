import { expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { pause } from '../../support/process.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const PAGE = 64 * KiB;

/** Every other page has data; all of it is dirty in a bitmap of such granules. */
async function fragmented(size: number, granularity: number): Promise<MirrorRig> {
  const rig = new MirrorRig({ size });
  const data = pattern(PAGE, 1);
  for (let at = 0; at < size; at += 2 * PAGE) await rig.source.disk.write(at, data);
  const bitmap = new DirtyBitmap({ name: 'b', size, granularity });
  rig.source.addBitmap(bitmap);
  bitmap.set(0, size);
  return rig;
}

/** A server may tell of one extent with each answer. */
function tellOne({ disk }: MirrorRig['source']): void {
  const ask = disk.blockStatus.bind(disk);
  disk.blockStatus = (offset, length) => ask(offset, length, 1);
}

async function expectCopied(rig: MirrorRig): Promise<void> {
  const job = rig.mirror({ bitmap: 'b' });
  // One that copies the same part of a unit again and again is at it for ever.
  await Promise.race([rig.ready(), pause(5000)]);
  job.cancel({ force: false });
  await job.ended;
  expect(rig.story).toContain('BLOCK_JOB_COMPLETED');
  expect(await areEqual(rig.source, rig.target)).toBe(true);
  expect(rig.source.findBitmap('b')!.isClean).toBe(true);
}

it('a granule of more extents than one answer tells of is copied', async () => {
  await expectCopied(await fragmented(64 * MiB, 64 * MiB));
});

it.each([128 * KiB, 2 * MiB])('so is one of %d bytes, told of one by one', async (granularity) => {
  const rig = await fragmented(4 * MiB, granularity);
  tellOne(rig.source);
  await expectCopied(rig);
});
