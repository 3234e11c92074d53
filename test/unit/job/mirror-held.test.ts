import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import { isDone } from '../../support/is-done.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

/** A job that is pending holds writes back; that is no reason for another one to wait. */
const MiB = 1 << 20;
let rig: MirrorRig;
let third: ShakyNode;

beforeEach(() => {
  rig = new MirrorRig({ size: MiB });
  third = new ShakyNode(new MemoryNode('third', { size: MiB }));
  rig.graph.add(third);
});

/** A younger mirror, to `third`, that is pending. */
async function pending(source: ShakyNode): Promise<MirrorJob> {
  const given = { id: 'mirror1', source, target: third, filterNodeName: 'younger' };
  const job = rig.mirror({ ...given, autoFinalize: false });
  await rig.event('BLOCK_JOB_READY', ({ data }) => data['device'] === 'mirror1');
  job.cancel({ force: false });
  await rig.event('BLOCK_JOB_PENDING');
  return job;
}

describe.each(['background', 'write-blocking'] as const)('a forced cancel, %s', (copyMode) => {
  it('does not wait for a pending mirror of its target', async () => {
    const bitmap = rig.bitmap('b');
    const job = rig.mirror({ copyMode, bitmap: 'b' });
    await rig.ready();
    const other = await pending(rig.target);
    const write = Promise.resolve(rig.client.node.write(0, pattern(4096, 1)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await areEqual(rig.source, rig.target)).toBe(false);
    job.cancel({ force: true });
    await Promise.all([write, job.ended]);
    expect([bitmap.isDirty(0), bitmap.busy]).toEqual([true, false]);
    expect(rig.story).not.toContain('BLOCK_JOB_ERROR');
    other.finalize();
    await other.ended;
    expect(await areEqual(rig.target, third)).toBe(true);
  });

  it('does not wait for a pending mirror below it', async () => {
    const job = rig.mirror({ copyMode });
    await rig.ready();
    const other = await pending(rig.source);
    const write = Promise.resolve(rig.client.node.write(0, pattern(4096, 1)));
    job.cancel({ force: true });
    await job.ended;
    expect(rig.graph.find('mirror-top')).toBeUndefined();
    expect(await isDone(write)).toBe(false);
    expect(await areEqual(rig.source, third)).toBe(true);
    other.finalize();
    await write;
    expect(await areEqual(rig.source, third)).toBe(false);
    await other.ended;
  });
});

it('an older mirror ends as a copy of the instant in which a pending one below holds', async () => {
  const job = rig.mirror();
  await rig.ready();
  const other = await pending(rig.source);
  const write = Promise.resolve(rig.client.node.write(0, pattern(4096, 1)));
  job.cancel({ force: false });
  await job.ended;
  expect(job.error).toBeUndefined();
  other.finalize();
  await Promise.all([write, other.ended]);
  expect(await areEqual(rig.target, third)).toBe(true);
  expect(await areEqual(rig.source, third)).toBe(false);
});
