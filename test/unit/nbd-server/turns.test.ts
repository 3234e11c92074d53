import { expect, it } from 'vitest';
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_READ } from '../../../protocol/nbd/constants.ts';
import { SIMPLE_REPLY_BYTES } from '../../../protocol/nbd/transmission.ts';
import {
  BLOCK_STATUS_TURN_REQUESTS,
  CLIENT_TURN_REQUESTS_MAX,
  MiB,
} from '../../../src/util/limits.ts';
import { encodeRequest } from '../../support/raw-nbd-client.ts';
import { TransmissionHarness } from '../../support/transmission-harness.ts';

const REPLY_BYTES = 17;

function reads(first: number, count: number): Buffer {
  const requests = Array.from({ length: count }, (_, index) =>
    encodeRequest({ type: NBD_CMD_READ, length: 1, cookieLow: first + index }),
  );
  return Buffer.concat(requests);
}

function cookies(sent: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at < sent.length; at += REPLY_BYTES) found.push(sent.readUInt32BE(at + 12));
  return found;
}

it('a deep queue is served in turns, and nothing is read from its client meanwhile', async () => {
  const harness = new TransmissionHarness(1 * MiB, () => false);
  const count = 2 * CLIENT_TURN_REQUESTS_MAX + 10;
  harness.transmission.push(reads(0, count));
  expect(harness.sent.length).toBe(CLIENT_TURN_REQUESTS_MAX * REPLY_BYTES);
  expect(harness.paused).toBe(true);
  await harness.settle();
  expect(harness.sent.length).toBe(count * REPLY_BYTES);
  expect(harness.paused).toBe(false);
});

it('so are questions for block status, few at a time', async () => {
  const harness = new TransmissionHarness(1 * MiB, () => false);
  const count = CLIENT_TURN_REQUESTS_MAX / BLOCK_STATUS_TURN_REQUESTS;
  const question = encodeRequest({ type: NBD_CMD_BLOCK_STATUS, length: 1 });
  harness.transmission.push(Buffer.concat(Array.from({ length: 2 * count }, () => question)));
  expect(harness.sent.length).toBe(count * SIMPLE_REPLY_BYTES);
  await harness.settle();
  expect(harness.sent.length).toBe(2 * count * SIMPLE_REPLY_BYTES);
});

it('what had arrived in pieces keeps its order while it waits', async () => {
  const harness = new TransmissionHarness(1 * MiB, () => false);
  const count = 8 * CLIENT_TURN_REQUESTS_MAX;
  const stream = reads(0, count);
  const cut = Math.floor(stream.length / 3) + 5;
  for (let at = 0; at < stream.length; at += cut) {
    harness.transmission.push(Buffer.from(stream.subarray(at, at + cut)));
  }
  await harness.settle();
  expect(cookies(harness.sent)).toEqual(Array.from({ length: count }, (_, index) => index));
});
