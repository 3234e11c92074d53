import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { encodeErrorChunk } from '../../../protocol/nbd/transmission.ts';
import { ReplyReader } from '../../../src/nbd-client/reply-reader.ts';
import { PendingRequest } from '../../../src/nbd-client/request.ts';
import {
  chunkHeader,
  dataPayload,
  holePayload,
  simpleReply,
  statusPayload,
} from '../../support/scripted-server.ts';

/** One of each kind of reply, in one stream, to requests with cookies (0, index). */
const READ_BYTES = 40_000;
const cookie = (index: number) => ({ cookieHigh: 0, cookieLow: index });
const content = Buffer.from(Array.from({ length: READ_BYTES }, (_, at) => at % 251));

const STREAM = Buffer.concat([
  simpleReply(cookie(0), 0),
  chunkHeader(cookie(1), wire.NBD_REPLY_TYPE_OFFSET_DATA, 8 + 100, false),
  dataPayload(4096, content.subarray(0, 100)),
  simpleReply(cookie(2), wire.NBD_EINVAL),
  chunkHeader(cookie(1), wire.NBD_REPLY_TYPE_OFFSET_HOLE, 12, false),
  holePayload(4096 + 100, 900),
  chunkHeader(cookie(3), wire.NBD_REPLY_TYPE_BLOCK_STATUS, 20),
  statusPayload(7, [512, 0], [1024, 3]),
  chunkHeader(cookie(1), wire.NBD_REPLY_TYPE_OFFSET_DATA, 8 + READ_BYTES - 1000, false),
  dataPayload(4096 + 1000, content.subarray(1000)),
  chunkHeader(cookie(4), wire.NBD_REPLY_TYPE_ERROR, 10),
  encodeErrorChunk({ error: wire.NBD_EIO, message: 'gone' }),
  chunkHeader(cookie(1), wire.NBD_REPLY_TYPE_NONE, 0),
]);

const EXPECTED = Buffer.from(content).fill(0, 100, 1000);

class Reading {
  readonly answered: number[] = [];
  readonly ends: unknown[] = [];
  readonly buffer = Buffer.alloc(READ_BYTES, 0xff);
  readonly requests = [
    request(wire.NBD_CMD_FLUSH, 0),
    request(wire.NBD_CMD_READ, READ_BYTES, this.buffer),
    request(wire.NBD_CMD_TRIM, 512),
    request(wire.NBD_CMD_BLOCK_STATUS, 4096),
    request(wire.NBD_CMD_WRITE, 512),
  ];
  readonly reader = new ReplyReader(
    { structured: true, contextIds: [7] },
    {
      find: (high, low) => (high === 0 ? this.requests[low] : undefined),
      onAnswered: (one) => this.answered.push(this.requests.indexOf(one)),
      onEnd: (error) => this.ends.push(error),
    },
  );

  /** As a socket does it: what has a place goes there, the rest is pushed. */
  receive(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const room = this.reader.room();
      if (room === undefined) {
        // Memory that is used again at once.
        const piece = Buffer.from(bytes.subarray(at));
        this.reader.push(piece);
        piece.fill(0xee);
        return;
      }
      const count = bytes.copy(room, 0, at);
      at += count;
      this.reader.filled(count);
    }
  }

  check(): void {
    expect(this.ends).toEqual([]);
    expect(this.answered).toEqual([0, 2, 3, 4, 1]);
    expect(this.buffer.equals(EXPECTED)).toBe(true);
    expect(this.requests[1]!.failure).toBeUndefined();
    expect(this.requests[2]!.failure).toEqual({ error: wire.NBD_EINVAL, message: '' });
    expect(this.requests[4]!.failure).toEqual({ error: wire.NBD_EIO, message: 'gone' });
    const extents = [
      { length: 512, flags: 0 },
      { length: 1024, flags: 3 },
    ];
    expect(this.requests[3]!.statuses).toEqual([{ contextId: 7, extents }]);
  }
}

function request(type: number, length: number, buffer?: Buffer): PendingRequest {
  return new PendingRequest({ type, flags: 0, offset: 4096, length }, buffer);
}

describe('the reader of replies', () => {
  it('reads a stream that comes at once', () => {
    const reading = new Reading();
    reading.receive(STREAM);
    reading.check();
  });

  it('reads a stream that comes byte by byte', () => {
    const reading = new Reading();
    for (let at = 0; at < STREAM.length; at++) reading.receive(STREAM.subarray(at, at + 1));
    reading.check();
  });

  it('reads a stream that is cut anywhere', () => {
    // The long run of data in the middle is cut at some of its places, everything else at each.
    const from = 400;
    const to = STREAM.length - 150;
    for (let cut = 1; cut < STREAM.length; cut += cut > from && cut < to ? 997 : 1) {
      const reading = new Reading();
      reading.receive(STREAM.subarray(0, cut));
      reading.receive(STREAM.subarray(cut));
      reading.check();
    }
  });

  it.each([2, 3, 5, 7, 13, 19, 29, 63, 1021, 16_384])('reads pieces of %i bytes', (bytes) => {
    const reading = new Reading();
    for (let at = 0; at < STREAM.length; at += bytes) {
      reading.receive(STREAM.subarray(at, at + bytes));
    }
    reading.check();
  });

  it('has room for long data only, and only where it belongs', () => {
    const reading = new Reading();
    expect(reading.reader.room()).toBeUndefined();
    const start = STREAM.indexOf(content.subarray(1000, 1100));
    reading.receive(STREAM.subarray(0, start + 10));
    const room = reading.reader.room()!;
    expect(room.length).toBe(READ_BYTES - 1010);
    expect(room.byteOffset).toBe(reading.buffer.byteOffset + 1010);
  });

  it('ends once, at the first offence', () => {
    const reading = new Reading();
    reading.reader.push(Buffer.alloc(100));
    reading.reader.push(STREAM);
    reading.reader.end();
    expect(reading.ends).toHaveLength(1);
    expect(reading.answered).toEqual([]);
  });

  it('tells the end of the stream', () => {
    const reading = new Reading();
    reading.reader.end();
    expect(reading.ends).toEqual([undefined]);
  });
});
