import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { pattern } from '../support/mirror-rig.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/** iotest 041: a mirror has no more data on its way than its buffer holds. */
it.each([GRANULE, 3 * GRANULE, 4 * MiB])(
  'buf-size %i bounds what is in flight',
  async (bufSize) => {
    const rig = new QmpMirrorRig({ size: 8 * MiB });
    await rig.source.write(0, pattern(8 * MiB, 1));
    let [inFlight, most] = [0, 0];
    rig.target.meddle = (verb, { length }) => {
      if (verb !== 'write') return;
      inFlight += length;
      most = Math.max(most, inFlight);
      return new Promise((resolve) => {
        setImmediate(() => {
          inFlight -= length;
          resolve();
        });
      });
    };
    await rig.mirror({ 'buf-size': bufSize });
    await rig.told('BLOCK_JOB_READY');
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(bufSize);
  },
);
