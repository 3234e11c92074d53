import { expect, it } from 'vitest';
import { newRequestHeader } from '../../../protocol/nbd/transmission.ts';
import { DirectPayload } from '../../../src/nbd-server/direct-payload.ts';
import { DIRECT_HEAD_BYTES, MiB } from '../../../src/util/limits.ts';

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
