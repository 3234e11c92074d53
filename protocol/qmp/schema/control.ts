import type { CommandDefinition, Definitions } from '../definition.ts';

/** Versions, introspection, giving up on peers, and the end of the process. */
export const CONTROL_TYPES = {
  VersionTriple: { struct: { major: 'int', minor: 'int', micro: 'int' } },
  VersionInfo: { struct: { qemu: 'VersionTriple', package: 'str' } },
  QMPCapability: { enum: ['oob'] },
  YankInstanceType: { enum: ['block-node'] },
  YankInstance: {
    base: { type: 'YankInstanceType' },
    discriminator: 'type',
    branches: { 'block-node': { 'node-name': 'str' } },
  },
  CommandInfo: { struct: { name: 'str' } },
  /** What the command line's `--chardev` takes. */
  ChardevOptions: {
    struct: {
      backend: 'str',
      id: 'str',
      '*path': 'str',
      '*host': 'str',
      '*port': 'str',
      '*server': 'bool',
      '*wait': 'bool',
      '*websocket': 'bool',
    },
  },
  /** What the command line's `--monitor` takes. */
  MonitorOptions: {
    struct: {
      chardev: 'str',
      '*id': 'str',
      '*mode': 'str',
      '*pretty': 'bool',
      '*token-file': 'str',
    },
  },
} as const satisfies Definitions;

export const CONTROL_COMMANDS = {
  qmp_capabilities: { arguments: { '*enable': ['QMPCapability'], '*x-token': 'str' } },
  'query-version': { returns: 'VersionInfo' },
  'query-commands': { returns: ['CommandInfo'] },
  'query-qmp-schema': { returns: ['any'] },
  yank: { arguments: { instances: ['YankInstance'] }, allowOob: true },
  'query-yank': { returns: ['YankInstance'], allowOob: true },
  quit: {},
} as const satisfies Record<string, CommandDefinition>;
