import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeOption } from '../../protocol/nbd/handshake.ts';
import { KiB } from '../../src/util/limits.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { encodeRequest } from '../support/raw-nbd-client.ts';
import { TransmissionHarness } from '../support/transmission-harness.ts';

/** Whatever bytes come, one client is answered or cut off, and nothing else happens (RB-09). */
const u32 = fc.nat(0xffffffff);
const bytes = (maxLength: number) =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

const request = fc
  .record({
    flags: fc.nat(0xffff),
    type: fc.oneof(fc.nat(9), fc.nat(0xffff)),
    cookieLow: u32,
    offset: fc.oneof(fc.nat(64 * KiB), fc.nat(Number.MAX_SAFE_INTEGER)),
    length: fc.oneof(fc.nat(64 * KiB), u32),
  })
  .map((fields) => encodeRequest(fields));

const option = fc
  .tuple(fc.oneof(fc.integer({ min: 2, max: 12 }), u32), bytes(60))
  .map(([number, data]) => Buffer.from(encodeOption(number, data)));

/** Sensible messages, some of them with one byte changed, and noise in between. */
function stream(message: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const spoilt = fc.tuple(message, fc.nat(), fc.nat(255)).map(([good, at, value]) => {
    const bad = Buffer.from(good);
    bad[at % bad.length] = value;
    return bad;
  });
  const anything = fc.oneof(
    { weight: 4, arbitrary: message },
    { weight: 2, arbitrary: spoilt },
    { weight: 1, arbitrary: bytes(100) },
  );
  return fc.array(anything, { maxLength: 12 }).map((parts) => Buffer.concat(parts));
}

describe('noise', () => {
  it('in transmission', async () => {
    await fc.assert(
      fc.asyncProperty(stream(request), fc.boolean(), async (input, slow) => {
        const harness = new TransmissionHarness(64 * KiB, () => slow);
        await harness.feed(input);
        harness.transmission.end();
        while (!harness.finished && !harness.cut) await new Promise(setImmediate);
      }),
      { numRuns: 300 },
    );
  });

  it('in the handshake', async () => {
    const rig = await startNbdRig();
    await fc.assert(
      fc.asyncProperty(stream(option), async (input) => {
        const client = await rig.connect();
        await client.greet();
        client.send(input);
        client.socket.end();
        await client.untilEnd();
        client.close();
      }),
      { numRuns: 200 },
    );
    const good = await rig.connect();
    expect((await good.go()).length).toBeGreaterThan(1);
  });
});
