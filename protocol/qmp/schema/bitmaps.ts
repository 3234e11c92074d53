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
  BlockDirtyBitmapSha256: { struct: { sha256: 'str' } },
} as const satisfies Definitions;

export const BITMAP_COMMANDS = {
  'block-dirty-bitmap-add': {
    arguments: {
      node: 'str',
      name: 'str',
      '*granularity': 'uint32',
      '*persistent': 'bool',
      '*disabled': 'bool',
    },
  },
  'block-dirty-bitmap-remove': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-clear': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-enable': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-disable': { arguments: 'BlockDirtyBitmap' },
  'block-dirty-bitmap-merge': {
    arguments: { node: 'str', target: 'str', bitmaps: ['BlockDirtyBitmapOrStr'] },
  },
  'x-debug-block-dirty-bitmap-sha256': {
    arguments: 'BlockDirtyBitmap',
    returns: 'BlockDirtyBitmapSha256',
    features: ['unstable'],
  },
} as const satisfies Record<string, CommandDefinition>;
