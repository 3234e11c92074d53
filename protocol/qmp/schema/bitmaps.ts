import type { CommandDefinition, Definitions } from '../definition.ts';

/** Dirty bitmaps. `node` is a node's name; devices with names of their own do not exist here. */
export const BITMAP_TYPES = {
  BlockDirtyBitmap: { struct: { node: 'str', name: 'str' } },
  BlockDirtyBitmapOrStr: { alternate: { string: 'str', object: 'BlockDirtyBitmap' } },
  BlockDirtyInfo: {
    struct: {
      '*name': 'str',
      count: 'int',
      granularity: 'uint32',
      recording: 'bool',
      busy: 'bool',
      persistent: 'bool',
      '*inconsistent': 'bool',
    },
  },
  BlockDirtyBitmapAdd: {
    struct: {
      node: 'str',
      name: 'str',
      '*granularity': 'uint32',
      '*persistent': 'bool',
      '*disabled': 'bool',
    },
  },
  BlockDirtyBitmapMerge: {
    struct: { node: 'str', target: 'str', bitmaps: ['BlockDirtyBitmapOrStr'] },
  },
  Abort: { struct: {} },
  ActionCompletionMode: { enum: ['individual', 'grouped'] },
  TransactionProperties: { struct: { '*completion-mode': 'ActionCompletionMode' } },
  TransactionActionKind: {
    enum: [
      'abort',
      'block-dirty-bitmap-add',
      'block-dirty-bitmap-remove',
      'block-dirty-bitmap-clear',
      'block-dirty-bitmap-enable',
      'block-dirty-bitmap-disable',
      'block-dirty-bitmap-merge',
    ],
  },
  TransactionAction: {
    base: { type: 'TransactionActionKind' },
    discriminator: 'type',
    branches: {
      abort: { data: 'Abort' },
      'block-dirty-bitmap-add': { data: 'BlockDirtyBitmapAdd' },
      'block-dirty-bitmap-remove': { data: 'BlockDirtyBitmap' },
      'block-dirty-bitmap-clear': { data: 'BlockDirtyBitmap' },
      'block-dirty-bitmap-enable': { data: 'BlockDirtyBitmap' },
      'block-dirty-bitmap-disable': { data: 'BlockDirtyBitmap' },
      'block-dirty-bitmap-merge': { data: 'BlockDirtyBitmapMerge' },
    },
  },
  BlockDirtyBitmapSha256: { struct: { sha256: 'str' } },
} as const satisfies Definitions;

export const BITMAP_COMMANDS = {
  'block-dirty-bitmap-add': { arguments: 'BlockDirtyBitmapAdd' },
  'block-dirty-bitmap-remove': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-clear': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-enable': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-disable': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-merge': { arguments: 'BlockDirtyBitmapMerge' },
  'x-debug-block-dirty-bitmap-sha256': {
    arguments: 'BlockDirtyBitmap',
    returns: 'BlockDirtyBitmapSha256',
  },
} as const satisfies Record<string, CommandDefinition>;

export const TRANSACTION_COMMANDS = {
  transaction: {
    arguments: { actions: ['TransactionAction'], '*properties': 'TransactionProperties' },
  },
} as const satisfies Record<string, CommandDefinition>;
