import { expect, it } from 'vitest';
import { errorReply } from '../../../../protocol/qmp/envelope.ts';
import { QmpError } from '../../../../protocol/qmp/error.ts';
import { writeJson } from '../../../../protocol/qmp/json-writer.ts';

it('writes nothing but ASCII, a surrogate at a time', () => {
  expect(writeJson({ é: ['\u007f', '😀', '\n'] })).toBe(
    '{"\\u00E9": ["\\u007F", "\\uD83D\\uDE00", "\\n"]}',
  );
});

it('escapes more than V8 replaces in one go', { timeout: 30_000 }, () => {
  const units = 2 ** 24 + 3;
  const escaped = writeJson('é'.repeat(units));
  // Not with toBe: it would print both.
  expect(escaped === `"${'\\u00E9'.repeat(units)}"`).toBe(true);
});

it('shortens a sentence that quotes megabytes', () => {
  const reply = errorReply(new QmpError('x'.repeat(100_000)), 1);
  const desc = `${'x'.repeat(65_536)} [and 34464 more characters]`;
  expect(reply).toEqual({ id: 1, error: { class: 'GenericError', desc } });
});
