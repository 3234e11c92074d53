import fc from 'fast-check';
import { expect, it } from 'vitest';
import { writeLine } from '../../protocol/qmp/json-writer.ts';
import { messagesOf } from '../support/qmp-messages.ts';

function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const end = at + sizes[turn % sizes.length]!;
    yield bytes.subarray(at, end);
    at = end;
  }
}

const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 });
const values = fc.array(fc.jsonValue({ stringUnit: 'binary' }), { maxLength: 4 });

it('reads what the writer wrote, however it is cut', () => {
  fc.assert(
    fc.property(values, sizes, (written, pattern) => {
      const text = written.map(writeLine).join('');
      expect(text).toMatch(/^[\r\n -~]*$/);
      expect(
        messagesOf(cut(Buffer.from(text), pattern))
          .map(writeLine)
          .join(''),
      ).toBe(text);
    }),
  );
});

it('finds the same messages and errors in any bytes, however they are cut', () => {
  const alphabet = fc.constantFrom(...'{}[],:"\'\\ \n\u0001u0d81-.eE+tfn%é😀'.split(''), '{"a":1}');
  const garbage = fc.array(alphabet, { maxLength: 60 }).map((parts) => Buffer.from(parts.join('')));
  fc.assert(
    fc.property(garbage, sizes, (bytes, pattern) => {
      expect(messagesOf(cut(bytes, pattern))).toEqual(messagesOf([bytes]));
    }),
    { numRuns: 500 },
  );
});
