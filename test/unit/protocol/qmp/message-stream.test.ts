import { describe, expect, it } from 'vitest';
import { messagesOf } from '../../../support/qmp-messages.ts';

const malformed = (desc: string) => ({ malformed: desc });
const parseError = (what: string) => malformed(`JSON parse error, ${what}`);

describe('a stream of QMP messages', () => {
  it('needs nothing between messages and takes blanks anywhere', () => {
    expect(messagesOf(['{"a":1}{"b":[true,false,null]}\r\n\t { "c" : { } }[]'])).toEqual([
      { a: 1 },
      { b: [true, false, null] },
      { c: {} },
      [],
    ]);
  });

  it('reads many escapes in one string', () => {
    const count = 30_000;
    const written = `"${'x\\n\\u00e9'.repeat(count)}\\t."`;
    expect(messagesOf([written])[0] === `${'x\né'.repeat(count)}\t.`).toBe(true);
  });

  it('reads strings in single quotes, with every escape', () => {
    expect(messagesOf([`{'a': 'it\\'s "\\b\\f\\n\\r\\t\\/\\\\"'}`])).toEqual([
      { a: 'it\'s "\b\f\n\r\t/\\"' },
    ]);
    expect(messagesOf(['"\\u00e9\\ud83d\\ude00\\u0000"'])).toEqual(['é😀\0']);
  });

  it('keeps integers that a double would round', () => {
    expect(
      messagesOf(['[9007199254740991,9007199254740993,18446744073709551615,-5,2.5,1e3]']),
    ).toEqual([[9007199254740991, 9007199254740993n, 18446744073709551615n, -5, 2.5, 1000]]);
    expect(messagesOf(['[18446744073709551616]'])).toEqual([[2 ** 64]]);
  });

  it('gives objects no prototype to reach', () => {
    const [message] = messagesOf(['{"__proto__": {"x": 1}}']) as [object];
    expect(Object.getPrototypeOf(message)).toBe(null);
    expect(Object.keys(message)).toEqual(['__proto__']);
  });

  // Recorded from qemu-storage-daemon 7.2.
  it.each([
    ['{"a":1,}', 'expecting value'],
    ['{a:1}', "invalid keyword 'a'"],
    ['{"a" 1}', 'missing : in object pair'],
    ['{"a":1 "b":2}', 'expected separator in dict'],
    ['[1 2]', 'expected separator in list'],
    [']', 'expecting value'],
    ['{1:2}', 'key is not a string in object'],
    ['{"a":}', 'expecting value'],
    ['[1,]', 'expecting value'],
    [',', 'expecting value'],
    ['{"a":1,"a":2}', 'duplicate key'],
    ['{"a":"\\q"}', 'invalid escape sequence in string'],
    ['{"a":"q\\u00"}', '\\u00" is not a valid Unicode character'],
    ['{"a":"q\\ud800"}', '\\ud800 is not a valid Unicode character'],
    ['[{"a":1},}', 'expecting value'],
  ])('answers %s with one error and goes on', (text, what) => {
    expect(messagesOf([`${text}{"next":1}`])).toEqual([parseError(what), { next: 1 }]);
  });

  it.each([
    ['{"a":%d', "stray '%'"],
    ['{"a":01', "stray '01'"],
    ['{"a":-x', "stray '-x'"],
    ['{"a":1.,', "stray '1.,'"],
    ['{"a":X', "stray 'X'"],
    ['{"a":"line\n', "stray '\"line\n'"],
    ['{"a":\u0001', "stray '\u0001'"],
  ])('gives up on %j at once, and resets', (text, what) => {
    expect(messagesOf([`${text}\n{"next":1}`])).toEqual([parseError(what), { next: 1 }]);
  });

  it('resets at a byte that UTF-8 never uses', () => {
    const input = [Buffer.from('{"a":["never ended'), Buffer.from([0xff]), '{"next":1}'];
    expect(messagesOf(input)).toEqual([parseError(`stray '"never ended\ufffd'`), { next: 1 }]);
  });

  it('refuses strings that are not UTF-8', () => {
    const input = [Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xc3]), Buffer.from('"}')])];
    expect(messagesOf(input)).toEqual([parseError('invalid UTF-8 sequence in string')]);
  });

  it('bounds nesting', () => {
    const limits = { messageBytesMax: 1000, tokensMax: 1000, nestingMax: 3 };
    expect(messagesOf(['[[[1]]]'], limits)).toEqual([[[[1]]]]);
    expect(messagesOf(['[[[['], limits)).toEqual([malformed('JSON nesting depth limit exceeded')]);
  });

  it('bounds the number of tokens', () => {
    const limits = { messageBytesMax: 1000, tokensMax: 5, nestingMax: 3 };
    expect(messagesOf(['[1,2][3,4]'], limits)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(messagesOf(['[1,2,'], limits)).toEqual([]);
    expect(messagesOf(['[1,2,['], limits)).toEqual([malformed('JSON token count limit exceeded')]);
  });

  it('bounds a message, also one that never ends', () => {
    const limits = { messageBytesMax: 10, tokensMax: 10, nestingMax: 3 };
    const tooLong = malformed('JSON token size limit exceeded');
    expect(messagesOf(['["12345"]'], limits)).toEqual([['12345']]);
    expect(messagesOf(['[      "1234567"  ,'], limits)).toEqual([tooLong]);
    expect(messagesOf(['"12345', '67890', 'abc', '\n[1]'], limits)).toEqual([tooLong, [1]]);
  });
});
