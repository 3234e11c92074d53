import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

const MiB = 1 << 20;

/** A rig whose source offers its bytes unread, and whose target takes them so. */
async function fileRig(failTimes: number): Promise<{ rig: MirrorRig; sent: number[] }> {
  const rig = new MirrorRig({ size: 4 * MiB });
  await rig.source.write(0, pattern(4 * MiB, 1));
  const sent: number[] = [];
  let failures = 0;
  rig.offerFileBytes((offset, bytes) => {
    sent.push(offset);
    if (failures++ < failTimes)
      bytes.failure = Object.assign(new Error('on fire'), { code: 'EIO' });
  });
  return { rig, sent };
}

describe('a mirror of what the page cache has', () => {
  it('sends it unread', async () => {
    const { rig, sent } = await fileRig(0);
    rig.mirror();
    await rig.ready();
    expect(sent.sort((a, b) => a - b)).toEqual([0, MiB, 2 * MiB, 3 * MiB]);
    expect(rig.source.log.filter((entry) => entry.startsWith('read'))).toEqual([]);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('takes what could not be had for an error of the source, and copies it again', async () => {
    const { rig } = await fileRig(1);
    rig.mirror({ onSourceError: 'ignore' });
    const error = await rig.event('BLOCK_JOB_ERROR');
    expect(error.data).toMatchObject({ operation: 'read', 'x-side': 'source', 'x-errno': 'EIO' });
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('leaves them dirty when it fails for that', async () => {
    const { rig } = await fileRig(1);
    const bitmap = rig.bitmap('b', [[0, 4 * MiB]]);
    const job = rig.mirror({ bitmap: 'b' });
    await job.ended;
    expect(bitmap.count).toBeGreaterThanOrEqual(MiB);
  });

  it('is cancelled by force before anything of it was sent', async () => {
    const { rig, sent } = await fileRig(0);
    const answers: (() => void)[] = [];
    rig.source.meddle = (verb) =>
      verb === 'status' ? new Promise<void>((resolve) => answers.push(resolve)) : undefined;
    const bitmap = rig.bitmap('b', [[0, MiB]]);
    const job = rig.mirror({ bitmap: 'b' });
    await expect.poll(() => answers).toHaveLength(1);
    job.cancel({ force: true });
    for (const answer of answers) answer();
    await job.ended;
    expect(sent).toEqual([]);
    expect(bitmap.count).toBe(MiB);
  });

  it('is cancelled by force while parts of a claim wait for their turn', async () => {
    const part = 64 * 1024;
    const rig = new MirrorRig({ size: 4 * MiB });
    for (let at = 0; at < 4 * MiB; at += 2 * part) await rig.source.write(at, pattern(part, 1));
    await rig.target.write(part, Buffer.from('x'));
    const hung: ((error: Error) => void)[] = [];
    rig.offerFileBytes(() => {});
    rig.target.writeFile = () => new Promise((_, reject) => hung.push(reject));
    const bitmap = new DirtyBitmap({ name: 'b', size: 4 * MiB, granularity: 4 * MiB });
    rig.source.addBitmap(bitmap);
    bitmap.set(0, 4 * MiB);
    const job = rig.mirror({ bitmap: 'b' });
    await expect.poll(() => hung.length).toBeGreaterThan(1);
    const before = hung.length;
    job.cancel({ force: true });
    for (const reject of hung) reject(new BlockError('ECANCELED', 'cancelled'));
    await job.ended;
    expect(hung).toHaveLength(before);
    expect(bitmap.count).toBe(4 * MiB);
  });
});
