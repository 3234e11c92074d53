import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { errnoOfError, errorOfErrno } from '../../../protocol/nbd/errors.ts';
import * as names from '../../../protocol/nbd/names.ts';
import * as transmission from '../../../protocol/nbd/transmission.ts';

const at = 3;
/** What `write` wrote at an offset, and nothing around it. */
function written(length: number, write: (bytes: Uint8Array) => void): string {
  const bytes = Buffer.alloc(length + 2 * at, 0xee);
  write(bytes);
  const text = bytes.toString('hex');
  expect(text.slice(0, 2 * at) + text.slice(-2 * at)).toBe('ee'.repeat(2 * at));
  return text.slice(2 * at, -2 * at);
}
const shifted = (text: string) => Buffer.from('ee'.repeat(at) + text.replaceAll(' ', ''), 'hex');

describe('the transmission phase, byte for byte', () => {
  it('request', () => {
    const request = {
      flags: wire.NBD_CMD_FLAG_FUA,
      type: wire.NBD_CMD_WRITE,
      cookieHigh: 0xfedcba98,
      cookieLow: 0x80000001,
      offset: 2 ** 40 + 4096,
      length: 0xffffffff,
    };
    const text = '256095130001 0001 fedcba9880000001 0000010000001000 ffffffff';
    expect(written(28, (bytes) => transmission.writeRequest(bytes, at, request))).toBe(
      text.replaceAll(' ', ''),
    );
    const read = transmission.newRequestHeader();
    expect(transmission.readRequest(shifted(text), at, read)).toBe(true);
    expect(read).toEqual(request);
  });

  it('request with a wrong magic', () => {
    const read = transmission.newRequestHeader();
    expect(transmission.readRequest(Buffer.alloc(28), 0, read)).toBe(false);
  });

  it.each([
    ['001fffffffffffff', Number.MAX_SAFE_INTEGER],
    ['0020000000000000', -1],
    ['ffffffffffffffff', -1],
    ['8000000000000000', -1],
  ])('offset %s is read as %d', (text, offset) => {
    const read = transmission.newRequestHeader();
    transmission.readRequest(shifted(`${'00'.repeat(16)}${text}00000000`), at, read);
    expect(read.offset).toBe(offset);
  });

  it('simple reply', () => {
    const reply = { error: wire.NBD_ENOSPC, cookieHigh: 1, cookieLow: 0xffffffff };
    const text = '674466980000001c00000001ffffffff';
    expect(written(16, (bytes) => transmission.writeSimpleReply(bytes, at, reply))).toBe(text);
    const read = { error: 0, cookieHigh: 0, cookieLow: 0 };
    expect(transmission.readSimpleReply(shifted(text), at, read)).toBe(true);
    expect(read).toEqual(reply);
    expect(transmission.readSimpleReply(Buffer.alloc(16), 0, read)).toBe(false);
  });

  it('header of a chunk', () => {
    const chunk = { flags: 1, type: 0x8002, cookieHigh: 2, cookieLow: 3, length: 0x80000000 };
    const text = '668e33ef00018002000000020000000380000000';
    expect(written(20, (bytes) => transmission.writeChunkHeader(bytes, at, chunk))).toBe(text);
    const read = transmission.newChunkHeader();
    expect(transmission.readChunkHeader(shifted(text), at, read)).toBe(true);
    expect(read).toEqual(chunk);
    expect(transmission.replyMagic(shifted(text), at)).toBe(wire.NBD_STRUCTURED_REPLY_MAGIC);
    expect(transmission.readChunkHeader(Buffer.alloc(20), 0, read)).toBe(false);
  });

  it('offset of data', () => {
    const text = '0000000100000000';
    expect(written(8, (bytes) => transmission.writeDataOffset(bytes, at, 2 ** 32))).toBe(text);
    expect(transmission.readDataOffset(shifted(text), at)).toBe(2 ** 32);
  });

  it('hole', () => {
    const text = '000000010000000000100000';
    expect(written(12, (bytes) => transmission.writeHole(bytes, at, 2 ** 32, 2 ** 20))).toBe(text);
    expect(transmission.readHole(shifted(text), at)).toEqual({ offset: 2 ** 32, length: 2 ** 20 });
  });

  it('block status', () => {
    const status = {
      contextId: 5,
      extents: [
        { length: 0x80000000, flags: 3 },
        { length: 512, flags: 0 },
      ],
    };
    const text = '0000000580000000000000030000020000000000';
    const length = transmission.blockStatusBytes(2);
    expect(written(length, (bytes) => transmission.writeBlockStatus(bytes, at, status))).toBe(text);
    expect(transmission.decodeBlockStatus(Buffer.from(text, 'hex'))).toEqual(status);
    const { extents } = transmission.decodeBlockStatus(Buffer.from(text, 'hex'), 1);
    expect(extents).toEqual(status.extents.slice(0, 1));
  });

  it.each(['', '00000005', '000000050000', '0000000500000000 00000001'])(
    'block status "%s" is refused',
    (text) => expect(() => transmission.decodeBlockStatus(shifted(text).subarray(at))).toThrow(),
  );

  it('error', () => {
    const chunk = { error: wire.NBD_EIO, message: 'é' };
    const text = '000000050002c3a9';
    expect(Buffer.from(transmission.encodeErrorChunk(chunk)).toString('hex')).toBe(text);
    expect(transmission.decodeErrorChunk(Buffer.from(text, 'hex'), 0x8001)).toEqual(chunk);
  });

  it('error that says more than fits: cut at a character, not within one', () => {
    const long = { error: wire.NBD_EIO, message: `${'x'.repeat(4095)}é and more` };
    const chunk = transmission.decodeErrorChunk(transmission.encodeErrorChunk(long), 0x8001);
    expect(chunk.message).toBe('x'.repeat(4095));
  });

  it('error whose text would do things to a terminal', () => {
    const evil = { error: wire.NBD_EIO, message: 'a\n\x1b[2Jb\x7f\x9b1Ac' };
    const chunk = transmission.decodeErrorChunk(transmission.encodeErrorChunk(evil), 0x8001);
    expect(chunk.message).toBe('a\ufffd\ufffd[2Jb\ufffd\ufffd1Ac');
  });

  it('error with an offset', () => {
    const chunk = { error: wire.NBD_EIO, message: '', offset: 4096 };
    const text = '0000000500000000000000001000';
    expect(Buffer.from(transmission.encodeErrorChunk(chunk)).toString('hex')).toBe(text);
    expect(transmission.decodeErrorChunk(Buffer.from(text, 'hex'), 0x8002)).toEqual(chunk);
  });

  it.each([
    ['0000000500', 0x8001],
    ['000000000000', 0x8001],
    ['00000005000161', 0x8002],
    ['0000000500026161', 0x8002],
    ['00000005000261', 0x8001],
    ['0000000500006161', 0x8001],
  ])('error %s of type %i is refused', (text, type) => {
    expect(() => transmission.decodeErrorChunk(Buffer.from(text, 'hex'), type)).toThrow();
  });
});

describe('errors on the wire', () => {
  const write = { type: wire.NBD_CMD_WRITE, flags: 0 };
  const read = { type: wire.NBD_CMD_READ, flags: 0 };
  const zero = { type: wire.NBD_CMD_WRITE_ZEROES, flags: wire.NBD_CMD_FLAG_NO_HOLE };
  const fastZero = { type: wire.NBD_CMD_WRITE_ZEROES, flags: wire.NBD_CMD_FLAG_FAST_ZERO };

  it.each([
    ['EPERM', 1],
    ['EIO', 5],
    ['ENOMEM', 12],
    ['EINVAL', 22],
    ['ENOSPC', 28],
    ['ESHUTDOWN', 108],
    ['ECONNRESET', 5],
    ['ENODEV', 5],
  ])('%s goes out as %i', (errno, value) => {
    expect(errorOfErrno(errno, write)).toBe(value);
  });

  it('sends ENOTSUP only in answer to a fast zero', () => {
    expect(errorOfErrno('ENOTSUP', fastZero)).toBe(wire.NBD_ENOTSUP);
    expect(errorOfErrno('ENOTSUP', zero)).toBe(wire.NBD_EINVAL);
    expect(errorOfErrno('ENOTSUP', { ...fastZero, type: wire.NBD_CMD_TRIM })).toBe(wire.NBD_EINVAL);
  });

  it('sends EOVERFLOW only for requests without payload', () => {
    expect(errorOfErrno('EOVERFLOW', read)).toBe(wire.NBD_EOVERFLOW);
    expect(errorOfErrno('EOVERFLOW', zero)).toBe(wire.NBD_EOVERFLOW);
    expect(errorOfErrno('EOVERFLOW', write)).toBe(wire.NBD_EINVAL);
  });

  it.each([1, 5, 12, 22, 28, 75, 95, 108])('%i comes in under its name', (value) => {
    expect(names.nameOfError(value)).toBe(`NBD_${errnoOfError(value, fastZero)}`);
  });

  it('takes ENOTSUP for a refusal only where it is one', () => {
    expect(errnoOfError(wire.NBD_ENOTSUP, fastZero)).toBe('ENOTSUP');
    expect(errnoOfError(wire.NBD_ENOTSUP, zero)).toBe('EIO');
  });

  it('takes unknown values for EINVAL', () => {
    expect(errnoOfError(2, read)).toBe('EINVAL');
    expect(errnoOfError(0xffffffff, read)).toBe('EINVAL');
  });
});

describe('names', () => {
  it.each([
    [names.nameOfOption, 7, 'NBD_OPT_GO'],
    [names.nameOfOption, 77, 'option 77'],
    [names.nameOfReply, 0x80000006, 'NBD_REP_ERR_UNKNOWN'],
    [names.nameOfReply, 0x80000000, 'reply 0x80000000'],
    [names.nameOfReply, 3, 'NBD_REP_INFO'],
    [names.nameOfInfo, 0, 'NBD_INFO_EXPORT'],
    [names.nameOfCommand, 1, 'NBD_CMD_WRITE'],
    [names.nameOfCommand, 16, 'command 16'],
    [names.nameOfChunk, 0x8002, 'NBD_REPLY_TYPE_ERROR_OFFSET'],
    [names.nameOfChunk, 0x8000, 'chunk type 0x8000'],
    [names.nameOfError, 28, 'NBD_ENOSPC'],
    [names.nameOfError, 0x21e41c71, 'error 0x21e41c71'],
  ])('%o of %i is %s', (nameOf, value, name) => {
    expect(nameOf(value)).toBe(name);
  });
});
