import type { Docs } from './language.ts';

const LOOKUP = {
  "Node 'n' not found": 'there is no such node',
  "Dirty bitmap 'x' not found": 'there is no such bitmap on the node',
} as const;
const BUSY = {
  "Bitmap 'x' is currently in use by another operation and cannot be used":
    'a job works with it, or an export shows it',
} as const;
const TOO_MANY = {
  "Granularity 512 is too small for node 'n' of 281474976710656 bytes":
    'there would be more granules than memory can hold',
} as const;
const NODE = 'Name of the node.';
const NAME = 'Name of the bitmap on that node.';

const SIZES_DIFFER =
  'Bitmaps are of different sizes (destination size is 1, source size is 2) ' +
  "and can't be merged";
const GROUPED =
  "Action 'block-dirty-bitmap-add' does not support transaction property " +
  'completion-mode = grouped';

export const BITMAP_DOCS = {
  title: 'Dirty bitmaps',
  about:
    'A bitmap belongs to a node and has one bit for each piece (granule) of it, which a write to ' +
    'the piece sets while the bitmap records. Bitmaps live as long as the process, so none is ' +
    'found `readonly` or `inconsistent`, as stored ones of QEMU may be. While a job or an export ' +
    'uses one it is *busy*, and these commands refuse it.',
  commands: {
    'block-dirty-bitmap-add': {
      about: 'Makes a bitmap with nothing dirty in it; it records from now on.',
      errors: {
        'Bitmap name cannot be empty': 'the name is the empty string',
        'Bitmap name contains NUL': 'clients could not ask for it',
        "Cannot find device='n' nor node-name='n'": 'there is no such node',
        'Granularity must be power of 2 and at least 512': 'another granularity was given',
        "Can't store persistent bitmaps to n: Operation not supported": '`persistent` is true',
        'Bitmap already exists: x': 'the node has one of this name',
        'Bitmap name too long: x': 'it has more than 1023 bytes',
        ...TOO_MANY,
      },
    },
    'block-dirty-bitmap-remove': {
      about: 'Removes a bitmap.',
      errors: { ...LOOKUP, ...BUSY },
    },
    'block-dirty-bitmap-clear': {
      about: 'Makes everything clean; whether it records stays as it is.',
      errors: { ...LOOKUP, ...BUSY },
    },
    'block-dirty-bitmap-enable': {
      about: 'Records writes from now on. One that records already is left as it is.',
      errors: { ...LOOKUP, ...BUSY },
    },
    'block-dirty-bitmap-disable': {
      about: 'Records no more. What is written from now on is not in it, and nothing says so.',
      errors: { ...LOOKUP, ...BUSY },
    },
    'block-dirty-bitmap-merge': {
      about:
        'Makes dirty in the target whatever is dirty in one of the sources. Granularities may ' +
        'differ, sizes may not. All of it happens or nothing; an empty list is well.',
      errors: {
        ...LOOKUP,
        ...BUSY,
        [SIZES_DIFFER]: 'the nodes differ in size',
      },
    },
    'x-debug-block-dirty-bitmap-sha256': {
      about: 'A digest of the bits, for tests that compare two bitmaps.',
      errors: LOOKUP,
    },
    transaction: {
      about:
        'Does several things to bitmaps in one go: no write falls between them, and when one is ' +
        'refused, those before it are undone and its error is the reply.',
      members: {
        actions: 'What to do, in this order.',
        properties: { about: 'How the actions hang together.', default: 'as `individual`' },
      },
      errors: {
        'Transaction aborted using Abort action': 'it has an action `abort`',
        [GROUPED]: '`completion-mode` is `grouped`, and there is an action',
      },
    },
  },
  types: {
    BlockDirtyBitmap: { about: 'A bitmap of a node.', members: { node: NODE, name: NAME } },
    BlockDirtyBitmapOrStr: {
      about: 'A name alone means the node that the command is about; with a node, that one.',
    },
    BlockDirtyInfo: {
      about: 'A bitmap as queries show it.',
      members: {
        name: 'Absent for the private bitmap of a job.',
        count: 'Dirty bytes: dirty granules times the granularity, so it can exceed the node.',
        granularity: 'Bytes for which one bit stands.',
        recording: 'Whether writes set bits at this moment.',
        busy: 'Whether a job or an export uses it.',
        persistent: 'Always false: bitmaps live as long as the process.',
        inconsistent: 'Absent: none has missed writes.',
      },
    },
    BlockDirtyBitmapAdd: {
      about: 'A bitmap to be made.',
      members: {
        node: NODE,
        name: 'At most 1023 bytes; no other bitmap of the node has it.',
        granularity: {
          about: 'Bytes for which one bit stands: a power of two, at least 512.',
          default: '65536',
        },
        persistent: { about: 'Refused when true.', default: 'false' },
        disabled: { about: 'Whether it begins without recording.', default: 'false' },
      },
    },
    BlockDirtyBitmapMerge: {
      about: 'What to merge into what.',
      members: {
        node: 'Node of the target, and of the sources that are names alone.',
        target: 'Name of the bitmap that is changed.',
        bitmaps: 'The sources; they stay as they are.',
      },
    },
    Abort: { about: 'Nothing: an action that always fails.' },
    ActionCompletionMode: {
      about: 'Whether what the actions started ends together.',
      members: { individual: 'Each for itself.', grouped: 'Refused: no action here goes on.' },
    },
    TransactionProperties: {
      about: 'How actions hang together.',
      members: {
        'completion-mode': { about: 'Whether they end together.', default: '`individual`' },
      },
    },
    TransactionActionKind: {
      about: 'The commands of the same names, and `abort`, which undoes all before it.',
    },
    TransactionAction: {
      about: 'One thing to do.',
      members: { type: 'What.', data: 'The arguments of the command of that name.' },
    },
    BlockDirtyBitmapSha256: { about: 'A digest.', members: { sha256: 'Hexadecimal.' } },
  },
} as const satisfies Docs;
