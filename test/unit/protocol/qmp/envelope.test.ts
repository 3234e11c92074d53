import { describe, expect, it } from 'vitest';
import { errorReply, idOf, readRequest } from '../../../../protocol/qmp/envelope.ts';
import { QmpError } from '../../../../protocol/qmp/error.ts';
import type { Json } from '../../../../protocol/qmp/json-builder.ts';
import { writeLine } from '../../../../protocol/qmp/json-writer.ts';

const plain = { oobEnabled: false };
const withOob = { oobEnabled: true };

it.each([
  ['x', 64 * 1024],
  ['', 64 * 1024],
])('an error that quotes too much is cut between characters (%j)', (before, kept) => {
  const sentence = before + '😀'.repeat(40_000);
  const { error } = errorReply(new QmpError(sentence), undefined) as { error: { desc: string } };
  const [, text, rest] = /^(.*) \[and (\d+) more characters\]$/u.exec(error.desc)!;
  expect(text).not.toMatch(/\p{Surrogate}/u);
  expect(text!.length).toBe(kept - before.length);
  expect(Number(rest)).toBe(sentence.length - text!.length);
});

describe('a request', () => {
  it('is a command with its arguments', () => {
    expect(readRequest({ execute: 'quit' }, plain)).toEqual({
      command: 'quit',
      outOfBand: false,
      arguments: {},
    });
    expect(readRequest({ execute: 'a', arguments: { b: 1 }, id: 2 }, plain)).toEqual({
      command: 'a',
      outOfBand: false,
      arguments: { b: 1 },
    });
  });

  it('can be out of band once that is enabled', () => {
    expect(readRequest({ 'exec-oob': 'a' }, withOob)).toEqual({
      command: 'a',
      outOfBand: true,
      arguments: {},
    });
    expect(() => readRequest({ 'exec-oob': 1 }, withOob)).toThrow(
      "QMP input member 'exec-oob' must be a string",
    );
    for (const both of [
      { execute: 'a', 'exec-oob': 'b' },
      { 'exec-oob': 'b', execute: 'a' },
    ]) {
      expect(() => readRequest(both, withOob)).toThrow(
        "QMP input member 'execute' clashes with 'exec-oob'",
      );
    }
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
    expect(() => readRequest(message, plain)).toThrow(desc);
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
