import type { CommandDefinition, Definitions } from '../definition.ts';

/** Versions, introspection, and the end of the process. */
export const CONTROL_TYPES = {
  VersionTriple: { struct: { major: 'int', minor: 'int', micro: 'int' } },
  VersionInfo: { struct: { qemu: 'VersionTriple', package: 'str' } },
  QMPCapability: { enum: ['oob'] },
  CommandInfo: { struct: { name: 'str' } },
} as const satisfies Definitions;

export const CONTROL_COMMANDS = {
  qmp_capabilities: { arguments: { '*enable': ['QMPCapability'] } },
  'query-version': { returns: 'VersionInfo' },
  'query-commands': { returns: ['CommandInfo'] },
  'query-qmp-schema': { returns: ['any'] },
  quit: {},
} as const satisfies Record<string, CommandDefinition>;
