import {
  type Definition,
  type Feature,
  featuresOf,
  featuresOfMember,
  type Members,
  type TypeRef,
  typeOf,
} from './definition.ts';
import { COMMANDS, EVENTS, TYPES } from './schema.ts';

/**
 * The schema in the shape of `query-qmp-schema`: what a client may rely on is here, and nothing
 * else. Types keep their names (QEMU hides them behind numbers, and no client may depend on them).
 */
export type SchemaInfo = { readonly name: string; readonly 'meta-type': string } & {
  readonly [key: string]: unknown;
};

const BUILTINS: Record<string, string> = {
  str: 'string',
  bool: 'boolean',
  int: 'int',
  any: 'value',
};
/** Introspection knows one kind of integer. */
const INTEGERS = new Set(['int', 'uint16', 'uint32', 'size']);
const EMPTY = 'q_empty';

/** Everything reachable from commands and events, each once. */
export function schemaInfo(): readonly SchemaInfo[] {
  const found = new Map<string, SchemaInfo>();
  for (const [name, command] of Object.entries(COMMANDS)) {
    const shape: {
      arguments?: Members | string;
      returns?: TypeRef;
      features?: readonly Feature[];
      allowOob?: true;
    } = command;
    found.set(`command ${name}`, {
      name,
      'meta-type': 'command',
      'arg-type': argumentType(found, `q_obj_${name}-arg`, shape.arguments),
      'ret-type': shape.returns === undefined ? empty(found) : typeName(found, shape.returns),
      ...(shape.allowOob && { 'allow-oob': true }),
      ...listed(featuresOf(name, shape.features)),
    });
  }
  for (const [name, event] of Object.entries(EVENTS)) {
    found.set(`event ${name}`, {
      name,
      'meta-type': 'event',
      'arg-type': argumentType(found, `q_obj_${name}-arg`, event.data),
    });
  }
  return [...found.values()];
}

export function commandInfo(): readonly { readonly name: string }[] {
  return Object.keys(COMMANDS).map((name) => ({ name }));
}

type Found = Map<string, SchemaInfo>;

function argumentType(found: Found, name: string, type: Members | string | undefined): string {
  if (typeof type === 'string') return typeName(found, type);
  return type === undefined ? empty(found) : structName(found, name, type);
}

function empty(found: Found): string {
  found.set(EMPTY, { name: EMPTY, 'meta-type': 'object', members: [] });
  return EMPTY;
}

function typeName(found: Found, type: TypeRef): string {
  if (typeof type !== 'string') return arrayName(found, type[0]);
  const name = INTEGERS.has(type) ? 'int' : type;
  if (found.has(name)) return name;
  const builtin = BUILTINS[name];
  if (builtin !== undefined) {
    found.set(name, { name, 'meta-type': 'builtin', 'json-type': builtin });
  } else {
    // Known from here on: a type may contain itself.
    found.set(name, { name, 'meta-type': 'object' });
    found.set(name, describe(found, name, (TYPES as Record<string, Definition>)[name]!));
  }
  return name;
}

function arrayName(found: Found, element: string): string {
  const elementType = typeName(found, element);
  const name = `[${elementType}]`;
  found.set(name, { name, 'meta-type': 'array', 'element-type': elementType });
  return name;
}

function describe(found: Found, name: string, definition: Definition): SchemaInfo {
  if ('enum' in definition) {
    const members = definition.enum.map((value) => ({
      name: value,
      ...listed(featuresOf(value)),
    }));
    return { name, 'meta-type': 'enum', members, values: definition.enum };
  }
  if ('alternate' in definition) {
    const members = Object.values(definition.alternate).map((type) => ({
      type: typeName(found, type),
    }));
    return { name, 'meta-type': 'alternate', members };
  }
  if ('struct' in definition) {
    return { name, 'meta-type': 'object', members: memberInfo(found, definition.struct) };
  }
  return {
    name,
    'meta-type': 'object',
    members: memberInfo(found, definition.base),
    tag: definition.discriminator,
    variants: Object.entries(definition.branches).map(([value, members]) => ({
      case: value,
      type: structName(found, `q_obj_${name}-${value}`, members),
    })),
  };
}

function structName(found: Found, name: string, members: Members): string {
  found.set(name, { name, 'meta-type': 'object', members: memberInfo(found, members) });
  return name;
}

function memberInfo(found: Found, members: Members): readonly object[] {
  return Object.entries(members).map(([key, member]) => ({
    name: key.startsWith('*') ? key.slice(1) : key,
    ...(key.startsWith('*') && { default: null }),
    type: typeName(found, typeOf(member)),
    ...listed(featuresOfMember(key, member)),
  }));
}

/** The member is absent when there is nothing to list. */
function listed(features: readonly Feature[]): { readonly features?: readonly Feature[] } {
  return features.length === 0 ? {} : { features };
}
