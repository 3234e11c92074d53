import { beforeEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { CANCELLED, COMPLETED } from '../support/disk-rig.ts';
import { contents, pattern } from '../support/mirror-rig.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/** iotest 218: what a cancel means before READY, and what after it. */
const WAYS = [
  ['block-job-cancel', { device: 'm0' }],
  ['block-job-cancel', { device: 'm0', force: false }],
  ['block-job-cancel', { device: 'm0', force: true }],
  ['job-cancel', { id: 'm0' }],
] as const;

describe('a cancel', () => {
  let rig: QmpMirrorRig;
  beforeEach(async () => {
    rig = new QmpMirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
  });

  it.each(WAYS)('before READY abandons the job: %s %j', async (command, given) => {
    // Two granules a second: when the first has come, the second is far away.
    await rig.mirror({ speed: 2 * GRANULE, 'buf-size': GRANULE });
    const offset = async () => (await rig.call('query-block-jobs'))[0]!.offset;
    await expect.poll(offset, { interval: 5 }).toBe(GRANULE);
    await rig.call(command, given as never);
    await rig.status('null');
    expect(rig.story).toEqual(['S:created', 'S:running', ...CANCELLED]);
    expect((await rig.told('BLOCK_JOB_CANCELLED')).data).toEqual({
      type: 'mirror',
      device: 'm0',
      len: MiB,
      offset: GRANULE,
      speed: 2 * GRANULE,
    });
    expect(rig.client.node).toBe(rig.source);
  });

  it.each(WAYS.slice(0, 2))('after READY lets it end well: %s %j', async (command, given) => {
    await rig.mirror();
    await rig.told('BLOCK_JOB_READY');
    const from = rig.story.length;
    await rig.client.node.write(GRANULE, pattern(GRANULE, 2));
    await rig.call(command, given as never);
    await rig.status('null');
    expect(rig.story.slice(from)).toEqual(COMPLETED);
    expect(rig.client.node).toBe(rig.source);
    expect((await contents(rig.target.disk)).equals(await contents(rig.source.disk))).toBe(true);
  });

  it.each(WAYS.slice(2))('after READY abandons it: %s %j', async (command, given) => {
    await rig.mirror();
    await rig.told('BLOCK_JOB_READY');
    const from = rig.story.length;
    const before = await contents(rig.target.disk);
    let letGo = () => {};
    const hanging = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    rig.source.meddle = (verb) => (verb === 'read' ? hanging : undefined);
    await rig.client.node.write(GRANULE, pattern(GRANULE, 2));
    await rig.call(command, given as never);
    letGo();
    await rig.status('null');
    expect(rig.story.slice(from)).toEqual(CANCELLED);
    expect(rig.client.node).toBe(rig.source);
    expect((await contents(rig.target.disk)).equals(before)).toBe(true);
  });
});
