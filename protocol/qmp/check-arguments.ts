import {
  type AlternateDefinition,
  type Definition,
  type EnumDefinition,
  type Members,
  type TypeRef,
  typeOf,
  type UnionDefinition,
} from './definition.ts';
import { QmpError } from './error.ts';
import {
  type Arguments,
  COMMANDS,
  type CommandName,
  type Qmp,
  TYPES,
  type TypeName,
} from './schema.ts';

/**
 * Whether arguments are what the schema says, in QEMU's order (members as the schema lists them,
 * unknown ones last) and words. Some of QEMU's sentences name the whole path to a value
 * (`cache.direct`, `bitmaps[0].name`), some only its last step, and an element of a list has no
 * name at all there.
 *
 * With `strings` the scalars come from a command line, where everything is text: `on` is true,
 * `64K` is a size.
 */
export interface CheckOptions {
  readonly strings?: boolean;
}

interface Place {
  readonly path: string;
  /** The last step of the path. */
  readonly name: string;
}

interface Context {
  readonly strings: boolean;
}

type Scalars = 'str' | 'bool' | 'int' | 'uint16' | 'uint32' | 'size';

const DEFINITIONS: Record<string, Definition> = TYPES;
const UNSIGNED_MAX = { uint16: 2 ** 16 - 1, uint32: 2 ** 32 - 1 };
/** Not `010`, which is 8 to QEMU. */
const INTEGER = /^([+-]?)(0x[0-9a-f]+|0|[1-9]\d*)$/i;
const HEXADECIMAL = /^0x[0-9a-f]+$/i;
const SIZE = /^(\d+(?:\.\d+)?)([bkmgtpe]?)$/i;

/** The arguments of a command, and nothing that was not asked for. Throws `QmpError`. */
export function checkArguments<Name extends CommandName>(
  command: Name,
  given: object,
): Arguments<Name> {
  const definition = COMMANDS[command] as { readonly arguments?: Members | string };
  const type = definition.arguments ?? {};
  const root: Place = { path: '', name: '' };
  const context: Context = { strings: false };
  const checked =
    typeof type === 'string'
      ? checkType(type, given, root, context)
      : checkStruct(type, given as Record<string, unknown>, root, context);
  return checked as Arguments<Name>;
}

/** A value of a named type, as an option of the command line gives it. Throws `QmpError`. */
export function checkValue<Name extends TypeName>(
  type: Name,
  given: unknown,
  options: CheckOptions = {},
): Qmp<Name> {
  const context = { strings: options.strings ?? false };
  return checkType(type, given, { path: '', name: '' }, context) as Qmp<Name>;
}

function checkType(type: TypeRef, value: unknown, place: Place, context: Context): unknown {
  if (typeof type !== 'string') return checkList(type[0], value, place, context);
  if (type === 'any') return value;
  const definition = DEFINITIONS[type];
  if (definition === undefined) return checkScalar(type as Scalars, value, place, context);
  if ('enum' in definition) return checkEnum(definition, value, place);
  if ('alternate' in definition) return checkAlternate(type, definition, value, place, context);
  const object = asObject(value, place);
  if ('struct' in definition) return checkStruct(definition.struct, object, place, context);
  return checkUnion(definition, object, place, context);
}

function checkScalar(type: Scalars, value: unknown, place: Place, context: Context): unknown {
  const given = context.strings && typeof value === 'string' ? fromText(type, value, place) : value;
  switch (type) {
    case 'str':
      if (typeof given === 'string') return given;
      throw wrongType(place, 'string');
    case 'bool':
      if (typeof given === 'boolean') return given;
      throw wrongType(place, 'boolean');
    case 'int':
      if (Number.isSafeInteger(given)) return given;
      throw wrongType(place, 'integer');
    case 'uint16':
    case 'uint32':
      // What is an integer at all is first told from what is not.
      if (typeof given === 'bigint') throw expects(place.name, `${type}_t`);
      if (!Number.isSafeInteger(given)) throw expects(place.path, 'uint64');
      if ((given as number) >= 0 && (given as number) <= UNSIGNED_MAX[type]) return given;
      throw expects(place.name, `${type}_t`);
    case 'size':
      if (!Number.isSafeInteger(given)) throw expects(place.path, 'uint64');
      if ((given as number) >= 0) return given;
      throw expects(place.path, 'a non-negative number below 2^64');
  }
}

function fromText(type: Scalars, text: string, place: Place): unknown {
  switch (type) {
    case 'str':
      return text;
    case 'bool':
      if (text === 'on' || text === 'yes' || text === 'true' || text === 'y') return true;
      if (text === 'off' || text === 'no' || text === 'false' || text === 'n') return false;
      throw expects(place.path, "'on' or 'off'");
    case 'int':
    case 'uint16':
    case 'uint32':
      return integerFromText(text, place);
    case 'size':
      return sizeFromText(text, place);
  }
}

function integerFromText(text: string, place: Place): number {
  const match = INTEGER.exec(text);
  if (match === null) throw expects(place.path, 'integer');
  return match[1] === '-' ? -Number(match[2]) : Number(match[2]);
}

/** Suffixes of bytes: k, M, G, T, P, E, each 1024 times the one before. */
function sizeFromText(text: string, place: Place): number {
  const [, number, suffix] = SIZE.exec(text) ?? [];
  const exponent = 'bkmgtpe'.indexOf((suffix || 'b').toLowerCase());
  const bytes = HEXADECIMAL.test(text) ? Number(text) : Number(number) * 1024 ** exponent;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw expects(place.path, 'a non-negative number below 2^64');
}

function checkEnum(definition: EnumDefinition, value: unknown, place: Place): string {
  if (typeof value !== 'string') throw wrongType(place, 'string');
  if (definition.enum.includes(value)) return value;
  throw new QmpError(`Parameter '${place.name}' does not accept value '${value}'`);
}

function checkList(
  element: string,
  value: unknown,
  place: Place,
  context: Context,
): readonly unknown[] {
  if (!Array.isArray(value)) throw wrongType(place, 'array');
  return value.map((item, index) =>
    checkType(element, item, { path: `${place.path}[${index}]`, name: 'null' }, context),
  );
}

function checkAlternate(
  type: string,
  definition: AlternateDefinition,
  value: unknown,
  place: Place,
  context: Context,
): unknown {
  if (typeof value === 'string') return value;
  if (isObject(value)) return checkType(definition.alternate.object, value, place, context);
  throw new QmpError(`Invalid parameter type for '${place.name}', expected: ${type}`);
}

function checkUnion(
  definition: UnionDefinition,
  value: Record<string, unknown>,
  place: Place,
  context: Context,
): object {
  const base = checkMembers(definition.base, value, place, context);
  const branch = definition.branches[base[definition.discriminator] as string]!;
  const checked = { ...base, ...checkMembers(branch, value, place, context) };
  refuseUnknown([definition.base, branch], value, place);
  return checked;
}

function checkStruct(
  members: Members,
  value: Record<string, unknown>,
  place: Place,
  context: Context,
): object {
  const checked = checkMembers(members, value, place, context);
  refuseUnknown([members], value, place);
  return checked;
}

function checkMembers(
  members: Members,
  value: Record<string, unknown>,
  place: Place,
  context: Context,
): Record<string, unknown> {
  const checked: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(members)) {
    const name = nameOf(key);
    const at = { path: step(place, name), name };
    const given = Object.hasOwn(value, name) ? value[name] : undefined;
    if (given !== undefined) checked[name] = checkType(typeOf(member), given, at, context);
    else if (name === key) throw new QmpError(`Parameter '${at.path}' is missing`);
  }
  return checked;
}

function refuseUnknown(
  known: readonly Members[],
  value: Record<string, unknown>,
  place: Place,
): void {
  for (const name of Object.keys(value)) {
    if (known.some((members) => hasMember(members, name))) continue;
    throw new QmpError(`Parameter '${step(place, name)}' is unexpected`);
  }
}

function hasMember(members: Members, name: string): boolean {
  return Object.hasOwn(members, name) || Object.hasOwn(members, `*${name}`);
}

function asObject(value: unknown, place: Place): Record<string, unknown> {
  if (isObject(value)) return value;
  throw wrongType(place, 'object');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function nameOf(key: string): string {
  return key.startsWith('*') ? key.slice(1) : key;
}

function step(place: Place, name: string): string {
  return place.path === '' ? name : `${place.path}.${name}`;
}

function wrongType(place: Place, expected: string): QmpError {
  return new QmpError(`Invalid parameter type for '${place.path}', expected: ${expected}`);
}

function expects(name: string, what: string): QmpError {
  return new QmpError(`Parameter '${name}' expects ${what}`);
}
