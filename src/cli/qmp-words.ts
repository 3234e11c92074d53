import {
  type CommandDefinition,
  type Definition,
  type Definitions,
  type Members,
  type TypeRef,
  typeOf,
} from '../../protocol/qmp/definition.ts';
import { COMMANDS, TYPES } from '../../protocol/qmp/schema.ts';
import { parseKeyval } from '../daemon/keyval.ts';
import { UsageError } from '../util/errors.ts';
import { parseSize } from '../util/units.ts';

/**
 * A QMP command as words: of a command line, or of a line of text. Whether `5` is a number or a
 * name, the schema says. Nothing is refused by it: the server may be another one, or newer, and it
 * knows best; where our schema has no word for something, we guess.
 */
const COMMAND_OF: Readonly<Record<string, CommandDefinition>> = COMMANDS;
const TYPE_OF: Definitions = TYPES;

/** What a line says as QMP does; one that begins with `{` is QMP already. */
export function messageOf(line: string): { readonly execute?: unknown } {
  if (line.trim().startsWith('{')) return readJson(line, 'line');
  const { command, words } = splitLine(line);
  const args = argumentsOf(command, words);
  return { execute: command, ...(args && { arguments: args }) };
}

/** `COMMAND KEY=VALUE...` or `COMMAND {...}`; blanks within JSON stay as they are. */
export function splitLine(line: string): { command: string; words: readonly string[] } {
  const [, command, rest] = /^(\S*)\s*(.*)$/s.exec(line.trim())!;
  if (rest === '') return { command: command!, words: [] };
  return { command: command!, words: rest!.startsWith('{') ? [rest!] : rest!.split(/\s+/) };
}

/** One JSON object, or `key=value` words with what the command wants as values. */
export function argumentsOf(command: string, words: readonly string[]): object | undefined {
  if (words.length === 0) return undefined;
  const text = words.join(' ');
  if (text.startsWith('{')) return readJson(text, 'arguments');
  const given = parseKeyval(words.map((word) => word.replaceAll(',', ',,')).join(','));
  const type = own(COMMAND_OF, command)?.arguments;
  return (typeof type === 'string' ? convert(type, given) : convertAll([type], given)) as object;
}

function readJson(text: string, what: string): object {
  try {
    return JSON.parse(text) as object;
  } catch (error) {
    throw new UsageError(`Cannot read the ${what} as JSON: ${(error as Error).message}`);
  }
}

/** `value` has strings only; `undefined` is a type that the schema does not tell. */
function convert(type: TypeRef | undefined, value: unknown): unknown {
  if (Array.isArray(value)) {
    const element = isList(type) ? type[0] : undefined;
    return value.map((item) => convert(element, item));
  }
  const definition = typeof type === 'string' ? own(TYPE_OF, type) : undefined;
  if (typeof value !== 'string') return convertObject(definition, value as object);
  // A scalar, unless it is an enum, or the name that an alternate may be.
  return definition === undefined ? scalar(type, value) : value;
}

function convertObject(definition: Definition | undefined, value: object): object {
  if (definition === undefined || 'enum' in definition) return convertAll([], value);
  if ('struct' in definition) return convertAll([definition.struct], value);
  if ('alternate' in definition) {
    return convertObject(own(TYPE_OF, definition.alternate.object), value);
  }
  const { base, branches, discriminator } = definition;
  const branch = own(branches, (value as Record<string, string>)[discriminator] ?? '');
  return convertAll([base, branch], value);
}

function convertAll(known: readonly (Members | undefined)[], value: object): object {
  const entries = Object.entries(value).map(([name, inner]) => {
    const members = known.find((each) => memberOf(each, name) !== undefined);
    const member = memberOf(members, name);
    return [name, convert(member && typeOf(member), inner)];
  });
  return Object.fromEntries(entries) as object;
}

function memberOf(members: Members | undefined, name: string) {
  return members && (own(members, name) ?? own(members, `*${name}`));
}

function scalar(type: TypeRef | undefined, text: string): unknown {
  switch (type) {
    case 'str':
      return text;
    case 'bool':
      return truth(text, ['yes', 'y'], ['no', 'n']) ?? text;
    case 'int':
    case 'uint32':
    case 'size':
      return wholeNumber(text) ?? parseSize(text) ?? text;
    default:
      return wholeNumber(text) ?? truth(text) ?? text;
  }
}

function wholeNumber(text: string): number | undefined {
  return /^-?\d+$/.test(text) ? Number(text) : undefined;
}

function truth(
  text: string,
  alsoTrue: readonly string[] = [],
  alsoFalse: readonly string[] = [],
): boolean | undefined {
  if (text === 'true' || text === 'on' || alsoTrue.includes(text)) return true;
  if (text === 'false' || text === 'off' || alsoFalse.includes(text)) return false;
  return undefined;
}

function isList(type: TypeRef | undefined): type is readonly [string] {
  return typeof type === 'object';
}

/** Not what every object has, such as `constructor`. */
function own<Value>(of: { readonly [name: string]: Value }, name: string): Value | undefined {
  return Object.hasOwn(of, name) ? of[name] : undefined;
}
