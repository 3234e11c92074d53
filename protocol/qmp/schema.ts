import type {
  CommandDefinition,
  Definitions,
  EventDefinition,
  StructValue,
  ValueOf,
} from './definition.ts';
import { BITMAP_COMMANDS, BITMAP_TYPES, TRANSACTION_COMMANDS } from './schema/bitmaps.ts';
import { BLOCK_COMMANDS, BLOCK_TYPES } from './schema/block.ts';
import { CONTROL_COMMANDS, CONTROL_TYPES } from './schema/control.ts';
import { EXPORT_COMMANDS, EXPORT_EVENTS, EXPORT_TYPES } from './schema/exports.ts';
import { JOB_COMMANDS, JOB_EVENTS, JOB_TYPES } from './schema/jobs.ts';
import { OBJECT_COMMANDS, OBJECT_TYPES } from './schema/objects.ts';
import { SOCKET_TYPES } from './schema/sockets.ts';

/** The whole schema, and its TypeScript types. */
export const TYPES = {
  ...CONTROL_TYPES,
  ...SOCKET_TYPES,
  ...BITMAP_TYPES,
  ...BLOCK_TYPES,
  ...OBJECT_TYPES,
  ...EXPORT_TYPES,
  ...JOB_TYPES,
} as const satisfies Definitions;

export const COMMANDS = {
  ...CONTROL_COMMANDS,
  ...BLOCK_COMMANDS,
  ...BITMAP_COMMANDS,
  ...TRANSACTION_COMMANDS,
  ...OBJECT_COMMANDS,
  ...EXPORT_COMMANDS,
  ...JOB_COMMANDS,
} as const satisfies Record<string, CommandDefinition>;

export const EVENTS = {
  ...EXPORT_EVENTS,
  ...JOB_EVENTS,
} as const satisfies Record<string, EventDefinition>;

export type TypeName = keyof typeof TYPES;
export type CommandName = keyof typeof COMMANDS;
export type EventName = keyof typeof EVENTS;

/** The value that a named type describes. */
export type Qmp<Name extends TypeName> = ValueOf<typeof TYPES, Name>;

export type Arguments<Name extends CommandName> = (typeof COMMANDS)[Name] extends {
  readonly arguments: infer A;
}
  ? A extends TypeName
    ? Qmp<A>
    : StructValue<typeof TYPES, A>
  : Record<never, never>;

export type Returns<Name extends CommandName> = (typeof COMMANDS)[Name] extends {
  readonly returns: infer R;
}
  ? ValueOf<typeof TYPES, R>
  : undefined;

export function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}
