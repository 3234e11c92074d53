import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { NBD_CMD_WRITE } from '../../protocol/nbd/constants.ts';
import { REQUEST_BYTES } from '../../protocol/nbd/transmission.ts';
import { DIRECT_WRITE_BYTES_MIN, KiB, MiB } from '../../src/util/limits.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startFileRig } from '../support/file-rig.ts';
import { pattern } from '../support/mirror-rig.ts';
import { encodeRequest } from '../support/raw-nbd-client.ts';

/** WRITEs to a file whose bytes arrive in whatever pieces: short ones, and long ones anywhere. */
const SIZE = 2 * MiB;

const length = fc.oneof(
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 9000 }) },
  { weight: 3, arbitrary: fc.integer({ min: 120 * KiB, max: MiB }) },
);
const step = fc.record({
  offset: fc.nat(SIZE - MiB),
  length,
  /** Where the stream is cut, in parts of it. */
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
});

it('WRITEs that arrive in pieces leave the file as a plain array would be', async () => {
  const kind = { clock: new FakeClock(), syscalls: { isWritingBack: () => false } };
  const rig = await startFileRig(SIZE, {}, kind);
  const receive = vi.spyOn(rig.node, 'receive');
  const client = await rig.connect();
  await client.go();
  const model = fs.readFileSync(rig.filename);
  const partsPastOurMemory = () =>
    receive.mock.results.filter(({ value }) => value?.writtenBytes > 0).length;
  let seed = 0;
  let wasLong = false;
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 3, maxLength: 8 }),
    async (steps) => {
      for (const { offset, length, cuts } of steps) {
        const data = pattern(length, seed++);
        data.copy(model, offset);
        const partsBefore = partsPastOurMemory();
        const stream = Buffer.concat([
          encodeRequest({ type: NBD_CMD_WRITE, offset, length }),
          data,
        ]);
        const places = cuts
          .map((part) => Math.floor(part * stream.length))
          // A cut right behind the header would have it come alone, whatever was before.
          .filter((place) => place !== REQUEST_BYTES)
          .sort((a, b) => a - b);
        let at = 0;
        for (const end of [...places, stream.length]) {
          client.send(stream.subarray(at, end));
          at = end;
          for (let turns = 0; turns < 4; turns++) await turn();
        }
        expect((await client.reply()).error).toBe(0);
        // The header of a long one has to come alone, which it does after another long one.
        const isLong = length >= DIRECT_WRITE_BYTES_MIN;
        expect(partsPastOurMemory() > partsBefore).toBe(isLong && wasLong);
        wasLong = isLong;
      }
      expect(fs.readFileSync(rig.filename).equals(model)).toBe(true);
    },
  );
  await fc.assert(property, { numRuns: 60 });
  // Many of them in more than one part.
  expect(partsPastOurMemory()).toBeGreaterThan(100);
});
