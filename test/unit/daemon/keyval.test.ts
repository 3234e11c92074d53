import { describe, expect, it } from 'vitest';
import { parseKeyval, parseObject } from '../../../src/daemon/keyval.ts';
import { UsageError } from '../../../src/util/errors.ts';

describe('keyval', () => {
  it('nests dotted keys', () => {
    expect(parseKeyval('driver=nbd,server.type=unix,server.path=/a')).toEqual({
      driver: 'nbd',
      server: { type: 'unix', path: '/a' },
    });
  });

  it('takes the first part without = for the implied key, and only the first', () => {
    expect(parseKeyval('nbd,id=e', 'type')).toEqual({ type: 'nbd', id: 'e' });
    expect(() => parseKeyval('id=e,nbd', 'type')).toThrow(UsageError);
    expect(() => parseKeyval('nbd,id=e')).toThrow("Expected '=' after parameter 'nbd'");
  });

  it('reads ,, as a comma in a value', () => {
    expect(parseKeyval('filename=a,,b,x=')).toEqual({ filename: 'a,b', x: '' });
  });

  it('makes lists of numbered keys', () => {
    expect(parseKeyval('bitmaps.0=a,bitmaps.1=b')).toEqual({ bitmaps: ['a', 'b'] });
    expect(parseKeyval('bitmaps.1=b')).toEqual({ bitmaps: { 1: 'b' } });
  });

  it('refuses a key that is a value and a group at once, in either order', () => {
    expect(() => parseKeyval('a=1,a.b=2')).toThrow(UsageError);
    expect(() => parseKeyval('a.b=2,a=1')).toThrow(UsageError);
  });

  it('refuses empty and hostile keys', () => {
    for (const text of ['a..b=1', '.a=1', '__proto__.x=1', 'a.__proto__=1']) {
      expect(() => parseKeyval(text)).toThrow(UsageError);
    }
  });

  it('takes what every object has for a key like any other', () => {
    expect(parseKeyval('constructor.prototype.x=1')).toEqual({
      constructor: { prototype: { x: '1' } },
    });
    expect('x' in {}).toBe(false);
  });

  it('takes JSON as it is', () => {
    expect(parseObject('{"size": 4}')).toEqual({ json: true, value: { size: 4 } });
    expect(parseObject("{'it\\'s': [1, 'a']} ").value).toEqual({ "it's": [1, 'a'] });
  });

  it.each([
    ['{"size": ', 'premature EOI'],
    ['{"size": 4,}', 'JSON parse error'],
    ["{'size", 'premature EOI'],
    ['{"size": 4}{}', 'Expecting at most one JSON value'],
    ['{"size": 4} x', "invalid keyword 'x'"],
  ])('does not take %j for JSON', (text, reason) => {
    expect(() => parseObject(text)).toThrow(UsageError);
    expect(() => parseObject(text)).toThrow(`Cannot read '${text}' as JSON: `);
    expect(() => parseObject(text)).toThrow(reason);
  });
});
