import { expect, it } from 'vitest';
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../../protocol/nbd/constants.ts';
import { newRequestHeader, REQUEST_BYTES } from '../../../protocol/nbd/transmission.ts';
import { DIRECT_HEAD_BYTES, DirectPayload } from '../../../src/nbd-server/direct-payload.ts';
import { DIRECT_WRITE_BYTES_MIN, MiB } from '../../../src/util/limits.ts';
import { encodeRequest } from '../../support/raw-nbd-client.ts';
import { TransmissionHarness } from '../../support/transmission-harness.ts';

it('does not wait for a page that is larger than what it reads of it', () => {
  const nothing = { writtenBytes: 0, takenBytes: 0, unwritten: Buffer.alloc(0) };
  const payload = new DirectPayload({ take: (taker) => void taker(0) }, { receive: () => nothing });
  const missing = { ...newRequestHeader(), offset: 100, length: MiB };
  expect(payload.receive(missing)).toBeUndefined();
  const room = payload.room(missing);
  // To the end of a block.
  expect(room.length).toBe(DIRECT_HEAD_BYTES - 100);
  room.fill(7);
  payload.filled(room.length - 1);
  expect(payload.receive(missing)).toBeUndefined();
  expect(payload.room(missing).length).toBe(1);
  payload.filled(1);
  expect(payload.receive(missing)?.equals(room)).toBe(true);
  expect(missing.length).toBe(MiB);
});

it('short requests are received together again after a long one', () => {
  const { transmission } = new TransmissionHarness(MiB, () => false);
  const head = encodeRequest({ type: NBD_CMD_WRITE, length: DIRECT_WRITE_BYTES_MIN });
  transmission.push(Buffer.concat([head, Buffer.alloc(DIRECT_WRITE_BYTES_MIN)]));
  expect(transmission.room()?.length).toBe(REQUEST_BYTES);
  transmission.push(encodeRequest({ type: NBD_CMD_FLUSH }));
  expect(transmission.room()?.length).toBe(REQUEST_BYTES);
  transmission.push(encodeRequest({ type: NBD_CMD_READ, length: 4096 }));
  expect(transmission.room()).toBeUndefined();
});
