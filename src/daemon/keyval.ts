import { UsageError } from '../util/errors.ts';

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
  try {
    return { json: true, value: JSON.parse(text) as Record<string, unknown> };
  } catch (error) {
    throw new UsageError(`Cannot read '${text}' as JSON: ${(error as Error).message}`);
  }
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
