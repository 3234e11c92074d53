import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { pattern } from '../support/mirror-rig.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';
import { InFlight } from '../support/shaky-node.ts';

/** iotest 041: a mirror has no more data on its way than its buffer holds. */
it.each([GRANULE, 3 * GRANULE, 4 * MiB])(
  'buf-size %i bounds what is in flight',
  async (bufSize) => {
    const rig = new QmpMirrorRig({ size: 8 * MiB });
    await rig.source.write(0, pattern(8 * MiB, 1));
    const inFlight = new InFlight(rig.target, () => new Promise(setImmediate));
    await rig.mirror({ 'buf-size': bufSize });
    await rig.told('BLOCK_JOB_READY');
    expect(inFlight.most).toBeGreaterThan(0);
    expect(inFlight.most).toBeLessThanOrEqual(bufSize);
  },
);
