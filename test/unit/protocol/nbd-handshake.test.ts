import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import * as handshake from '../../../protocol/nbd/handshake.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('the handshake, byte for byte', () => {
  it('greeting', () => {
    const greeting = '4e42444d41474943 49484156454f5054 0003';
    expect(hex(handshake.encodeGreeting(3))).toBe(greeting.replaceAll(' ', ''));
    expect(handshake.decodeGreeting(bytes(greeting))).toEqual({ oldstyle: false, flags: 3 });
  });

  it('oldstyle greeting', () => {
    const oldstyle = bytes('4e42444d41474943 0000420281861253 0000');
    expect(handshake.decodeGreeting(oldstyle)).toEqual({ oldstyle: true, flags: 0 });
  });

  it.each([
    ['0000444d41474943 49484156454f5054 0003', 'NBDMAGIC'],
    ['4e42444d41474943 49484156454f5053 0003', 'IHAVEOPT'],
  ])('greeting %s is refused', (greeting, says) => {
    expect(() => handshake.decodeGreeting(bytes(greeting))).toThrow(says);
  });

  it('client flags', () => {
    expect(hex(handshake.encodeClientFlags(3))).toBe('00000003');
    expect(handshake.decodeClientFlags(bytes('80000001'))).toBe(0x80000001);
  });

  it('option', () => {
    const option = handshake.encodeOption(wire.NBD_OPT_EXPORT_NAME, Buffer.from('a'));
    expect(hex(option)).toBe('49484156454f5054000000010000000161');
    expect(handshake.decodeOptionHeader(option)).toEqual({ option: 1, length: 1 });
    expect(() => handshake.decodeOptionHeader(Buffer.alloc(16))).toThrow('IHAVEOPT');
  });

  it('option reply', () => {
    const reply = handshake.encodeOptionReply(7, wire.NBD_REP_ERR_UNKNOWN, Buffer.from('no'));
    expect(hex(reply)).toBe('0003e889045565a90000000780000006000000026e6f');
    const header = { option: 7, type: wire.NBD_REP_ERR_UNKNOWN, length: 2 };
    expect(handshake.decodeOptionReplyHeader(reply)).toEqual(header);
    expect(handshake.isErrorReply(header.type)).toBe(true);
    expect(handshake.isErrorReply(wire.NBD_REP_META_CONTEXT)).toBe(false);
    expect(() => handshake.decodeOptionReplyHeader(Buffer.alloc(20))).toThrow('magic');
  });

  it('answer to EXPORT_NAME', () => {
    const disk = { size: 2 ** 40 + 1, flags: 0x1ed };
    const reply = handshake.encodeExportNameReply(disk, false);
    expect(hex(reply)).toBe('000001000000000101ed');
    expect(handshake.decodeExportNameReply(reply)).toEqual(disk);
    const padded = handshake.encodeExportNameReply(disk, true);
    expect(hex(padded)).toBe(`000001000000000101ed${'00'.repeat(124)}`);
  });

  it.each([
    ['0000 0000000000100000 0001', { type: 0, size: 2 ** 20, flags: 1 }],
    ['0001 616263', { type: 1, name: 'abc' }],
    ['0002 c3a9', { type: 2, description: 'é' }],
    [
      '0003 00000200 00001000 ffffffff',
      { type: 3, minimum: 512, preferred: 4096, maximum: 0xffffffff },
    ],
  ] as [string, handshake.Info][])('information %s', (text, info) => {
    expect(hex(handshake.encodeInfo(info))).toBe(text.replaceAll(' ', ''));
    expect(handshake.decodeInfo(bytes(text))).toEqual(info);
  });

  it('information of an unknown kind is ignored', () => {
    expect(handshake.decodeInfo(bytes('00ff 1234'))).toBeUndefined();
  });

  it.each([
    ['in another encoding', '636166e9', 'caf\ufffd'],
    ['with NUL', '00', '\ufffd'],
    ['that is too long', '61'.repeat(5000), 'a'.repeat(4096)],
  ])('a description %s is taken as far as it can be read', (_what, text, description) => {
    expect(handshake.decodeInfo(bytes(`0002${text}`))).toEqual({ type: 2, description });
  });

  it.each(['', '00', '0000 00', '0000 0000000000100000 000100', '0003 0000', '0001 00', '0001 ff'])(
    'information "%s" is refused',
    (text) => expect(() => handshake.decodeInfo(bytes(text))).toThrow(),
  );

  it('GO', () => {
    const go = '00000003 616263 0002 0003 00ff';
    const request = { exportName: 'abc', infos: [3, 255] };
    expect(hex(handshake.encodeGoRequest(request))).toBe(go.replaceAll(' ', ''));
    expect(handshake.decodeGoRequest(bytes(go))).toEqual(request);
  });

  it.each([
    ['', 'the length of the export name is missing'],
    ['00000004 616263', 'said to have 4 bytes'],
    ['ffffffff 616263', 'said to have 4294967295 bytes'],
    ['00000003 616263', 'the number of information requests is missing'],
    ['00000003 616263 0002 0003', 'instead of'],
    ['00000003 616263 0000 0003', 'instead of'],
    ['00000003 610062 0000', 'NUL'],
    ['00000002 c328 0000', 'not UTF-8'],
    [`00001001 ${'61'.repeat(4097)} 0000`, '4097 bytes long'],
  ])('GO with %s is refused', (text, says) => {
    expect(() => handshake.decodeGoRequest(bytes(text))).toThrow(says);
  });

  it('metadata contexts asked for', () => {
    const request = { exportName: 'd', queries: ['base:allocation', 'x:'] };
    const encoded = handshake.encodeMetaContextRequest(request);
    const query = Buffer.from('base:allocation').toString('hex');
    expect(hex(encoded)).toBe(`0000000164000000020000000f${query}00000002783a`);
    expect(handshake.decodeMetaContextRequest(encoded)).toEqual(request);
  });

  it.each([
    ['00000000', 'the number of queries is missing'],
    ['00000000 00000001', 'the length of a query is missing'],
    ['00000000 ffffffff', 'the length of a query is missing'],
    ['00000000 00000001 00000005 78', 'said to have 5 bytes'],
    ['00000000 00000000 00', 'instead of'],
    ['00000000 00000001 00000001 ff', 'not UTF-8'],
  ])('metadata contexts asked for with %s are refused', (text, says) => {
    expect(() => handshake.decodeMetaContextRequest(bytes(text))).toThrow(says);
  });

  it('metadata context', () => {
    const context = { id: 0xfffffffe, name: 'base:allocation' };
    const encoded = handshake.encodeMetaContext(context);
    expect(hex(encoded)).toBe(`fffffffe${Buffer.from(context.name).toString('hex')}`);
    expect(handshake.decodeMetaContext(encoded)).toEqual(context);
    expect(() => handshake.decodeMetaContext(bytes('000000'))).toThrow('no context id');
  });

  it('export of a list', () => {
    const listed = { name: 'a', description: 'the disk' };
    const encoded = handshake.encodeListedExport(listed);
    expect(hex(encoded)).toBe(`0000000161${Buffer.from('the disk').toString('hex')}`);
    expect(handshake.decodeListedExport(encoded)).toEqual(listed);
    expect(() => handshake.decodeListedExport(bytes('00000002 61'))).toThrow('said to have 2');
  });
});
