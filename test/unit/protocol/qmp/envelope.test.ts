import { describe, expect, it } from 'vitest';
import { idOf, readRequest } from '../../../../protocol/qmp/envelope.ts';
import type { Json } from '../../../../protocol/qmp/json-builder.ts';
import { writeLine } from '../../../../protocol/qmp/json-writer.ts';

describe('a request', () => {
  it('is a command with its arguments', () => {
    expect(readRequest({ execute: 'quit' })).toEqual({ command: 'quit', arguments: {} });
    expect(readRequest({ execute: 'a', arguments: { b: 1 }, id: 2 })).toEqual({
      command: 'a',
      arguments: { b: 1 },
    });
  });

  it.each<[Json, string]>([
    [[1], 'QMP input must be a JSON object'],
    [null, 'QMP input must be a JSON object'],
    ['quit', 'QMP input must be a JSON object'],
    [{ execute: 1 }, "QMP input member 'execute' must be a string"],
    [{ arguments: {} }, "QMP input lacks member 'execute'"],
    [{ execute: 'a', arguments: [] }, "QMP input member 'arguments' must be an object"],
    [{ execute: 'a', 'exec-oob': 'a' }, "QMP input member 'exec-oob' is unexpected"],
    [{ execute: 'a', bogus: 1 }, "QMP input member 'bogus' is unexpected"],
  ])('%o is none', (message, desc) => {
    expect(() => readRequest(message)).toThrow(desc);
  });

  it('has an id even when nothing else is right', () => {
    expect(idOf({ id: { a: 1 } })).toEqual({ a: 1 });
    expect(idOf([1])).toBe(undefined);
  });
});

it('a message is written as ASCII on one line', () => {
  const value = {
    a: [1, 2.5, 2n ** 60n],
    b: undefined,
    'c\n': 'é"\u007f😀',
    d: { e: null, f: true },
  };
  expect(writeLine(value)).toBe(
    '{"a": [1, 2.5, 1152921504606846976], ' +
      '"c\\n": "\\u00E9\\"\\u007F\\uD83D\\uDE00", "d": {"e": null, "f": true}}\r\n',
  );
});
