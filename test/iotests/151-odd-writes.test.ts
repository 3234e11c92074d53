import { beforeEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { contents, pattern } from '../support/mirror-rig.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/** iotest 151: writes at odd places and odd moments of a write-blocking mirror. */
describe('a write-blocking mirror', () => {
  let rig: QmpMirrorRig;
  beforeEach(async () => {
    rig = new QmpMirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
  });
  const mirror = (more: object = {}) => rig.mirror({ 'copy-mode': 'write-blocking', ...more });
  const job = async () => (await rig.call('query-block-jobs'))[0]!;
  const completeEqual = async () => {
    await rig.call('job-complete', { id: 'm0' });
    await rig.status('null');
    expect((await contents(rig.target.disk)).equals(await contents(rig.source.disk))).toBe(true);
  };

  it('takes a byte into a granule that is still to be copied, and becomes READY', async () => {
    await mirror({ speed: 1, granularity: GRANULE });
    await expect.poll(async () => (await job()).len).toBe(MiB);
    for (const offset of [MiB - 1, 5 * GRANULE + 1, 5 * GRANULE - 1]) {
      await rig.client.node.write(offset, Buffer.from([0x42]));
    }
    expect((await job()).ready).toBe(false);
    await rig.call('block-job-set-speed', { device: 'm0', speed: 0 });
    await rig.told('BLOCK_JOB_READY');
    await expect.poll(async () => (await job())['actively-synced']).toBe(true);
    expect((await job())['x-dirty-bytes']).toBe(0);
    await completeEqual();
  });

  it('does not get stuck between three writes that overlap', async () => {
    await mirror();
    await rig.told('BLOCK_JOB_READY');
    const letGo: (() => void)[] = [];
    rig.target.meddle = (verb) =>
      verb === 'write' ? new Promise<void>((resolve) => letGo.push(resolve)) : undefined;
    const { node } = rig.client;
    const writes = [
      node.write(0, pattern(2 * GRANULE, 2)),
      node.write(2 * GRANULE, pattern(2 * GRANULE, 3)),
      // Over the ends of both.
      node.write(GRANULE, pattern(2 * GRANULE, 4)),
    ];
    await expect.poll(() => letGo.length).toBe(2);
    letGo[1]!();
    letGo[0]!();
    // The third gets its turn when both have ended, not before.
    await expect.poll(() => letGo.length).toBe(3);
    letGo[2]!();
    await Promise.all(writes);
    rig.target.meddle = () => {};
    expect(await job()).toMatchObject({ 'actively-synced': true, 'x-dirty-bytes': 0 });
    await completeEqual();
    const middle = (await contents(rig.target.disk)).subarray(GRANULE, 3 * GRANULE);
    expect(middle.equals(pattern(2 * GRANULE, 4))).toBe(true);
  });

  it('takes zeroes of 512 bytes at odd sectors after READY', async () => {
    await mirror();
    await rig.told('BLOCK_JOB_READY');
    for (let offset = 512; offset < 3 * GRANULE; offset += 1024) {
      await rig.client.node.writeZeroes(offset, 512);
    }
    expect(await job()).toMatchObject({ 'actively-synced': true, 'x-dirty-bytes': 0 });
    await completeEqual();
  });

  it('lets writes through that come while its filter is there and its job not yet', async () => {
    let letGo = () => {};
    const before = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    rig.source.meddle = (verb, { offset }) =>
      verb === 'write' && offset === 0 ? before : undefined;
    // This one began below the filter: the job waits for its end before it does anything.
    const early = rig.client.node.write(0, pattern(GRANULE, 2));
    await mirror();
    expect(rig.client.node).not.toBe(rig.source);
    await rig.client.node.write(5 * GRANULE, pattern(GRANULE, 3));
    await rig.client.node.writeZeroes(7 * GRANULE + 512, 512);
    // QEMU's filter only passes them on then. Ours needs no job to copy them.
    const held = (await contents(rig.target.disk)).subarray(5 * GRANULE, 6 * GRANULE);
    expect(held.equals(pattern(GRANULE, 3))).toBe(true);
    expect((await job()).ready).toBe(false);
    letGo();
    await early;
    await rig.told('BLOCK_JOB_READY');
    await completeEqual();
  });
});
