import type { Json } from '../../protocol/qmp/json-builder.ts';
import { MessageStream } from '../../protocol/qmp/message-stream.ts';
import { UsageError } from '../util/errors.ts';
import { QMP_MESSAGE_BYTES_MAX, QMP_NESTING_MAX, QMP_TOKENS_MAX } from '../util/limits.ts';

/**
 * QEMU's option values: `key=value,outer.inner=value,list.0=value`, where `,,` is a comma in a
 * value, or a JSON object when it begins with `{`. All values are strings here; which of them are
 * numbers or booleans the schema of the command knows (`convertStrings`).
 */
export type Keyval = { [key: string]: KeyvalValue };
export type KeyvalValue = string | Keyval | KeyvalValue[];

/** `impliedKey` names the first part when it has no `=`: `nbd,id=e0` is `type=nbd,id=e0`. */
export function parseKeyval(text: string, impliedKey?: string): Keyval {
  const result = newKeyval();
  for (const [index, part] of splitParts(text).entries()) {
    const equals = part.indexOf('=');
    if (equals > 0) {
      put(result, part.slice(0, equals), part.slice(equals + 1), text);
    } else if (index === 0 && impliedKey !== undefined && equals === -1) {
      put(result, impliedKey, part, text);
    } else {
      throw new UsageError(`Expected '=' after parameter '${part}' in '${text}'`);
    }
  }
  return listsOf(result) as Keyval;
}

/** The object an option stands for: JSON as it is, keyval with strings only. */
export function parseObject(
  text: string,
  impliedKey?: string,
): { json: boolean; value: Record<string, unknown> } {
  if (!text.startsWith('{')) return { json: false, value: parseKeyval(text, impliedKey) };
  return { json: true, value: parseJson(text) };
}

const JSON_LIMITS = {
  messageBytesMax: QMP_MESSAGE_BYTES_MAX,
  tokensMax: QMP_TOKENS_MAX,
  nestingMax: QMP_NESTING_MAX,
};

/** As messages are read: strings may be quoted with `'`. */
function parseJson(text: string): Record<string, unknown> {
  const values: Json[] = [];
  let wrong: string | undefined;
  const stream = new MessageStream(
    {
      message: (value) => values.push(value),
      malformed: (desc) => {
        wrong ??= desc;
      },
    },
    JSON_LIMITS,
  );
  // The blank ends a word that is last.
  stream.push(Buffer.from(`${text} `));
  if (values.length === 0) wrong ??= 'JSON parse error, premature EOI';
  if (values.length > 1) wrong ??= 'Expecting at most one JSON value';
  if (wrong !== undefined) throw new UsageError(`Cannot read '${text}' as JSON: ${wrong}`);
  return values[0] as Record<string, unknown>;
}

/** Splits at single commas; `,,` stands for one comma. */
function splitParts(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== ',') part += text[at];
    else if (text[at + 1] === ',') part += text[at++];
    else {
      parts.push(part);
      part = '';
    }
  }
  if (part !== '') parts.push(part);
  return parts;
}

/** Has no members of its own: `constructor` is a key like any other. */
function newKeyval(): Keyval {
  return Object.create(null) as Keyval;
}

function put(into: Keyval, path: string, value: string, text: string): void {
  const keys = path.split('.');
  const last = keys.pop()!;
  if (last === '' || keys.includes('') || path.includes('__proto__')) {
    throw new UsageError(`Invalid parameter '${path}' in '${text}'`);
  }
  let at = into;
  for (const key of keys) {
    at[key] ??= newKeyval();
    const next = at[key];
    if (typeof next === 'string') {
      throw new UsageError(`Parameter '${path}' clashes with '${key}' in '${text}'`);
    }
    at = next as Keyval;
  }
  if (typeof at[last] === 'object') {
    throw new UsageError(`Parameter '${path}' used inconsistently in '${text}'`);
  }
  at[last] = value;
}

/** Objects whose keys are 0, 1, 2, ... are lists. */
function listsOf(value: KeyvalValue): KeyvalValue {
  if (typeof value === 'string' || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  for (const key of keys) value[key] = listsOf(value[key]!);
  if (keys.length === 0 || !keys.every((_, index) => String(index) in value)) return value;
  return keys.map((_, index) => value[String(index)]!);
}
