import { describe, expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { pattern } from '../support/mirror-rig.ts';
import { failNth, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/** iotest 219: which steps at the end of a job wait for the operator. */
const ALIKE = [false, true].flatMap((finalize) =>
  [false, true].map((dismiss) => ({ finalize, dismiss })),
);

describe.each(ALIKE)('auto-finalize $finalize, auto-dismiss $dismiss', ({ finalize, dismiss }) => {
  const start = async () => {
    const rig = new QmpMirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    const begin = () => rig.mirror({ 'auto-finalize': finalize, 'auto-dismiss': dismiss });
    return { rig, begin };
  };
  const endOf = async (rig: QmpMirrorRig) => {
    if (!dismiss) {
      await rig.status('concluded');
      // It stays until it is told to go.
      expect(await rig.call('query-jobs')).toMatchObject([{ id: 'm0', status: 'concluded' }]);
      await rig.call('job-dismiss', { id: 'm0' });
    }
    await rig.status('null');
    expect(await rig.call('query-jobs')).toEqual([]);
    expect(await rig.call('query-block-jobs')).toEqual([]);
  };

  it('success', async () => {
    const { rig, begin } = await start();
    await begin();
    await rig.told('BLOCK_JOB_READY');
    expect(await rig.call('query-block-jobs')).toMatchObject([
      { 'auto-finalize': finalize, 'auto-dismiss': dismiss },
    ]);
    const from = rig.story.length;
    await rig.call('job-complete', { id: 'm0' });
    await rig.status('pending');
    if (!finalize) {
      expect((await rig.told('BLOCK_JOB_PENDING')).data).toEqual({ type: 'mirror', id: 'm0' });
      expect(rig.client.node).not.toBe(rig.target);
      await rig.call('block-job-finalize', { id: 'm0' });
    }
    await endOf(rig);
    expect(rig.client.node).toBe(rig.target);
    expect(rig.story.slice(from)).toEqual([
      'S:waiting',
      'S:pending',
      ...(finalize ? [] : ['BLOCK_JOB_PENDING']),
      'BLOCK_JOB_COMPLETED',
      'S:concluded',
      'S:null',
    ]);
  });

  it('failure: there is nothing to finalize', async () => {
    const { rig, begin } = await start();
    failNth(rig.source, 'read', 1);
    await begin();
    await endOf(rig);
    expect((await rig.told('BLOCK_JOB_COMPLETED')).data).toMatchObject({
      error: 'Input/output error',
    });
    expect(rig.client.node).toBe(rig.source);
    expect(rig.story).toEqual([
      'S:created',
      'S:running',
      'BLOCK_JOB_ERROR',
      'S:aborting',
      'BLOCK_JOB_COMPLETED',
      'S:concluded',
      'S:null',
    ]);
  });

  if (!finalize) {
    it('a cancel in pending: no pivot', async () => {
      const { rig, begin } = await start();
      await begin();
      await rig.told('BLOCK_JOB_READY');
      await rig.call('job-complete', { id: 'm0' });
      await rig.told('BLOCK_JOB_PENDING');
      const from = rig.story.length;
      // Without force, but it is too late to end in order.
      await rig.call('block-job-cancel', { device: 'm0' });
      await endOf(rig);
      expect(rig.client.node).toBe(rig.source);
      expect(rig.story.slice(from)).toEqual([
        'S:aborting',
        'BLOCK_JOB_CANCELLED',
        'S:concluded',
        'S:null',
      ]);
    });
  }
});
