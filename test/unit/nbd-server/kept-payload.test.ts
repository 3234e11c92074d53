import { beforeEach, describe, expect, it } from 'vitest';
import { NBD_CMD_WRITE } from '../../../protocol/nbd/constants.ts';
import { MiB } from '../../../src/util/limits.ts';
import { Pending } from '../../../src/util/pending.ts';
import { encodeRequest } from '../../support/raw-nbd-client.ts';
import { TransmissionHarness } from '../../support/transmission-harness.ts';

const PAYLOAD_BYTES = 4096;

/** The memory that the node finds a payload in, and its work, in the order of the writes. */
interface Written {
  data: Buffer;
  work: Pending;
}

describe('the payload of a write that is not done at once', () => {
  let harness: TransmissionHarness;
  let written: Written[];
  let keepsData: boolean;
  beforeEach(() => {
    harness = new TransmissionHarness(1 * MiB, () => false);
    written = [];
    harness.node.write = (_, data) => {
      const work = new Pending();
      work.keepsData = keepsData;
      written.push({ data, work });
      return work;
    };
  });

  function pushWrites(count: number): { chunk: Buffer; isKept: boolean } {
    const requests = Array.from({ length: count }, () => [
      encodeRequest({ type: NBD_CMD_WRITE, length: PAYLOAD_BYTES }),
      Buffer.alloc(PAYLOAD_BYTES, 1),
    ]);
    const chunk = Buffer.concat(requests.flat());
    return { chunk, isKept: harness.transmission.push(chunk) };
  }

  it('stays where it came if nobody needs it when the write has begun', async () => {
    keepsData = false;
    const { chunk, isKept } = pushWrites(2);
    expect(isKept).toBe(false);
    for (const { data } of written) expect(data.buffer).toBe(chunk.buffer);
    expect(harness.sent.length).toBe(0);
    for (const { work } of written) work.succeed();
    await harness.settle();
    expect(harness.sent.length).toBe(2 * 16);
  });

  it('is kept if it is still needed, and the next one is copied', async () => {
    keepsData = true;
    const { chunk, isKept } = pushWrites(2);
    expect(isKept).toBe(true);
    expect(written.map(({ data }) => data.buffer === chunk.buffer)).toEqual([true, false]);
    expect(written[1]!.data).toEqual(Buffer.alloc(PAYLOAD_BYTES, 1));
    for (const { work } of written) work.succeed();
    await harness.settle();
  });
});
