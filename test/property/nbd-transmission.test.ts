import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as wire from '../../protocol/nbd/constants.ts';
import { KiB } from '../../src/util/limits.ts';
import { encodeRequest } from '../support/raw-nbd-client.ts';
import { TransmissionHarness } from '../support/transmission-harness.ts';

/**
 * A stream of requests is cut anywhere, part of it is read straight into the rooms that are
 * offered, and the disk answers now or later. Replies and disk must be those of a plain model.
 */
const SIZE = 256 * KiB;

interface Step {
  type: number;
  offset: number;
  length: number;
  fill: number;
}

const stepOf = (lengthMax: number): fc.Arbitrary<Step> =>
  fc.record({
    type: fc.constantFrom(wire.NBD_CMD_READ, wire.NBD_CMD_WRITE, wire.NBD_CMD_WRITE_ZEROES),
    offset: fc.nat(SIZE),
    length: fc.nat(lengthMax),
    fill: fc.nat(255),
  });
const steps = fc.array(fc.oneof(stepOf(300), stepOf(100 * KiB)), { maxLength: 30 });

/** What one step gets, as error and data, from a disk that is a plain array. */
function model(disk: Buffer, step: Step): { error: number; data: Buffer } {
  const { type, offset, length, fill } = step;
  const none = Buffer.alloc(0);
  const isRead = type === wire.NBD_CMD_READ;
  if (offset + length > SIZE) {
    return { error: isRead ? wire.NBD_EINVAL : wire.NBD_ENOSPC, data: none };
  }
  if (isRead) return { error: 0, data: Buffer.from(disk.subarray(offset, offset + length)) };
  disk.fill(type === wire.NBD_CMD_WRITE ? fill : 0, offset, offset + length);
  return { error: 0, data: none };
}

function encode(step: Step, cookieLow: number): Buffer {
  const head = encodeRequest({ ...step, cookieLow });
  if (step.type !== wire.NBD_CMD_WRITE) return head;
  return Buffer.concat([head, Buffer.alloc(step.length, step.fill)]);
}

/** Replies by cookie. */
function decode(sent: Buffer, requests: readonly Step[]): Map<number, unknown> {
  const replies = new Map<number, unknown>();
  for (let at = 0; at < sent.length; ) {
    expect(sent.readUInt32BE(at)).toBe(wire.NBD_SIMPLE_REPLY_MAGIC);
    const error = sent.readUInt32BE(at + 4);
    const cookie = sent.readUInt32BE(at + 12);
    const request = requests[cookie]!;
    const isData = error === 0 && request.type === wire.NBD_CMD_READ;
    const data = sent.subarray(at + 16, at + 16 + (isData ? request.length : 0));
    expect(replies.has(cookie)).toBe(false);
    replies.set(cookie, { error, data });
    at += 16 + data.length;
  }
  return replies;
}

describe('transmission', () => {
  it('answers a stream cut anywhere as a plain disk would, one by one', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.infiniteStream(fc.nat(60 * KiB)), async (requests, cuts) => {
        const harness = new TransmissionHarness(SIZE, () => false);
        const stream = Buffer.concat(requests.map(encode));
        for (let at = 0; at < stream.length; ) {
          const bytes = 1 + cuts.next().value;
          await harness.feed(stream.subarray(at, at + bytes));
          at += bytes;
        }
        await harness.settle();
        const disk = Buffer.alloc(SIZE);
        const expected = new Map(requests.map((step, cookie) => [cookie, model(disk, step)]));
        expect(decode(harness.sent, requests)).toEqual(expected);
        const after = Buffer.alloc(SIZE);
        await harness.disk.read(0, after);
        expect(after.equals(disk)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('loses nothing when the disk answers now or later, in any order', async () => {
    // One region a request: what is in flight together does not overlap, so the order is free.
    const region = 8 * KiB;
    const parts = fc.array(
      fc.record({ write: fc.boolean(), length: fc.integer({ min: 1, max: region }) }),
      { maxLength: SIZE / region },
    );
    const slowness = fc.infiniteStream(fc.boolean());
    await fc.assert(
      fc.asyncProperty(
        parts,
        slowness,
        fc.integer({ min: 1, max: 9000 }),
        async (some, slow, cut) => {
          const harness = new TransmissionHarness(SIZE, () => slow.next().value);
          const requests = some.map(({ write, length }, index) => ({
            type: write ? wire.NBD_CMD_WRITE : wire.NBD_CMD_READ,
            offset: index * region,
            length,
            fill: index + 1,
          }));
          const before = Buffer.alloc(SIZE, 0x77);
          await harness.disk.write(0, before);
          const stream = Buffer.concat(requests.map(encode));
          for (let at = 0; at < stream.length; at += cut) {
            await harness.feed(stream.subarray(at, at + cut));
          }
          await harness.settle();
          const expected = new Map(requests.map((step, cookie) => [cookie, model(before, step)]));
          expect(decode(harness.sent, requests)).toEqual(expected);
          const after = Buffer.alloc(SIZE);
          await harness.disk.read(0, after);
          expect(after.equals(before)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });
});
