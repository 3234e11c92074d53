import type { CommandDefinition, Definitions, EventDefinition } from '../definition.ts';

/** The NBD server and its exports. */
export const EXPORT_TYPES = {
  BlockExportType: { enum: ['nbd'] },
  BlockExportRemoveMode: { enum: ['safe', 'hard'] },
  BlockExportOptions: {
    base: {
      type: 'BlockExportType',
      id: 'str',
      'node-name': 'str',
      '*writable': 'bool',
      '*writethrough': 'bool',
      '*iothread': 'str',
      '*fixed-iothread': 'bool',
    },
    discriminator: 'type',
    branches: {
      nbd: {
        '*name': 'str',
        '*description': 'str',
        '*bitmaps': ['BlockDirtyBitmapOrStr'],
        '*allocation-depth': 'bool',
      },
    },
  },
  BlockExportInfo: {
    struct: {
      id: 'str',
      type: 'BlockExportType',
      'node-name': 'str',
      'shutting-down': 'bool',
      'x-clients': ['str'],
      'x-requests': 'ExportRequests',
    },
  },
  ExportRequests: {
    struct: {
      reads: 'int',
      'read-bytes': 'int',
      writes: 'int',
      'written-bytes': 'int',
      flushes: 'int',
      discards: 'int',
      errors: 'int',
    },
  },
  /** What `--nbd-server` takes: nbd-server-start with a flat address. */
  NbdServerOptions: {
    struct: {
      addr: 'SocketAddress',
      '*handshake-max-seconds': 'uint32',
      '*tls-creds': 'str',
      '*max-connections': 'uint32',
    },
  },
} as const satisfies Definitions;

export const EXPORT_COMMANDS = {
  'nbd-server-start': {
    arguments: {
      addr: 'SocketAddressLegacy',
      '*handshake-max-seconds': 'uint32',
      '*tls-creds': 'str',
      '*max-connections': 'uint32',
    },
  },
  'nbd-server-stop': {},
  'nbd-server-add': {
    arguments: {
      '*name': 'str',
      '*description': 'str',
      device: 'str',
      '*writable': 'bool',
      '*bitmap': 'str',
    },
    features: ['deprecated'],
  },
  'nbd-server-remove': {
    arguments: { name: 'str', '*mode': 'BlockExportRemoveMode' },
    features: ['deprecated'],
  },
  'block-export-add': { arguments: 'BlockExportOptions' },
  'block-export-del': { arguments: { id: 'str', '*mode': 'BlockExportRemoveMode' } },
  'query-block-exports': { returns: ['BlockExportInfo'] },
} as const satisfies Record<string, CommandDefinition>;

export const EXPORT_EVENTS = {
  BLOCK_EXPORT_DELETED: { data: { id: 'str' } },
} as const satisfies Record<string, EventDefinition>;
