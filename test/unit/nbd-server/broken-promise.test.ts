import { expect, it } from 'vitest';
import { NBD_CMD_READ } from '../../../protocol/nbd/constants.ts';
import { AssertionError } from '../../../src/util/assert.ts';
import { MiB } from '../../../src/util/limits.ts';
import { encodeRequest } from '../../support/raw-nbd-client.ts';
import { TransmissionHarness } from '../../support/transmission-harness.ts';

it('a broken promise of our own code is not an error of the disk: it is thrown on', () => {
  const { disk, transmission } = new TransmissionHarness(1 * MiB, () => false);
  disk.read = () => {
    throw new AssertionError('broken');
  };
  for (const length of [512, 1 * MiB]) {
    const request = encodeRequest({ type: NBD_CMD_READ, length });
    expect(() => transmission.push(request)).toThrow('broken');
  }
});
