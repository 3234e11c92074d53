import type { Docs } from './language.ts';

const TLS_CREDS = {
  about: "Refused (`No TLS credentials with id 'x'`): TLS is not offered.",
  default: 'no TLS',
} as const;
const HANDSHAKE = {
  about: 'Seconds that a client has for its handshake; 0 for no bound.',
  default: '10',
} as const;
const CONNECTIONS = {
  about: 'Clients at a time, further ones wait; 0 for no bound.',
  default: '100',
} as const;
const DESCRIPTION = {
  about: 'For people, shown in listings; at most 4096 bytes.',
  default: 'none',
} as const;
const MODE = { about: 'What happens to clients.', default: '`safe`' } as const;

const ADDING = {
  'Invalid block export id': 'an id is a letter, then letters, digits, `-`, `.` and `_`',
  "Block export id 'x' is already in use": 'the id is taken',
  'NBD server not running': 'nobody has started it',
  "export name 'x' too long": 'it has more than 4096 bytes',
  'export name contains NUL': 'the protocol has no such names, nor descriptions',
  "NBD server already has export named 'x'": 'another export has the name, and clients may have it',
  "Bitmap 'x' is not found": 'neither the node nor one below it has it',
  "Bitmap 'x' is of a disk of 4096 bytes, but 'n' has 8192": 'the bitmap is of another disk',
  "Enabled bitmap 'x' incompatible with readonly export":
    'a bitmap that records, named alone, of a node that can be written to: it would change under ' +
    'a read-only export',
  "Bitmap 'x' is currently in use by another operation and cannot be used":
    'a job or another export uses it',
} as const;
const REMOVING = {
  "Export 'x' is not found": 'there is no such export',
  "Export 'x' is already shutting down": 'it has been removed, and clients are still leaving',
  "export 'x' still in use": 'it has clients, and the mode is `safe`',
} as const;

export const EXPORT_DOCS = {
  title: 'The NBD server and its exports',
  about:
    'One server a process, with any number of exports. An export shows one node; while a mirror ' +
    'runs or when it has moved clients to its target, the export goes along by itself.',
  commands: {
    'nbd-server-start': {
      about: 'Listens for NBD clients. There is no password: whoever reaches it may use it.',
      members: {
        addr: 'Where, in the nested form.',
        'handshake-max-seconds': HANDSHAKE,
        'tls-creds': TLS_CREDS,
        'max-connections': CONNECTIONS,
      },
      errors: {
        'NBD server already running': 'there is one only',
        "Invalid port 'x' of host 'h': expected 0 to 65535": 'as it says',
        'Invalid last port 1: expected 2 to 65535': '`to` ends before the first port',
        'Cannot listen on h:10809: the address is in use': 'or whatever else the system says',
        "No TLS credentials with id 'x'": '`tls-creds` was given',
      },
    },
    'nbd-server-stop': {
      about:
        'Listens no more, answers what clients have asked, and closes their connections and all ' +
        'exports. Writes that wait for the end of a mirror are refused (ESHUTDOWN): that end may ' +
        'wait for `job-finalize` from who waits for this reply. What waits for the target of a ' +
        'mirror, because a mirror of that one is pending, is waited for.',
      errors: { 'NBD server not running': 'nobody has started it' },
    },
    'nbd-server-add': {
      about:
        'The old way to `block-export-add`: the export has its name as id too, and is read-only ' +
        'without a word when the node is.',
      members: {
        device: 'Name of the node.',
        name: { about: 'Name for clients, and id.', default: 'the name of the node' },
        description: DESCRIPTION,
        writable: { about: 'Whether clients may write.', default: 'false' },
        bitmap: { about: 'Name of a bitmap to show.', default: 'none' },
      },
      errors: { "Cannot find device='n' nor node-name='n'": 'there is no such node', ...ADDING },
    },
    'nbd-server-remove': {
      about: 'The old way to `block-export-del`.',
      members: { name: 'Name of the export.', mode: MODE },
      errors: REMOVING,
    },
    'block-export-add': {
      about: 'Shows a node to NBD clients.',
      errors: {
        "Cannot find device='' nor node-name='n'": 'there is no such node',
        'Cannot export read-only node as writable': '`writable` is true, and the node is read-only',
        'iothread "x" not found': 'there is no such object',
        "Cannot fix export 'x' to iothread 'y': one thread serves all exports":
          '`fixed-iothread` demands what is not there',
        "Node 'n' not found": 'there is no node to look for the bitmap on',
        "Dirty bitmap 'x' not found": 'that node has no such bitmap',
        ...ADDING,
      },
    },
    'block-export-del': {
      about:
        'Takes an export away. The reply may come before it is gone; BLOCK_EXPORT_DELETED says ' +
        'when it is: behind the last request of its clients, those that a `pending` job holds ' +
        'back included.',
      members: { id: 'Id of the export.', mode: MODE },
      errors: REMOVING,
    },
    'query-block-exports': { about: 'All exports, the youngest first.' },
  },
  events: {
    BLOCK_EXPORT_DELETED: {
      about: 'An export is gone, whoever asked for it; its id and its bitmaps are free.',
      members: { id: 'Id of the export.' },
    },
  },
  types: {
    BlockExportType: { about: 'How a node is shown.', members: { nbd: 'By the NBD server.' } },
    BlockExportRemoveMode: {
      about: 'What happens to the clients of an export that is taken away.',
      members: { safe: 'Refused while there are any.', hard: 'They are cut.' },
    },
    BlockExportOptions: {
      about: 'An export to be made.',
      members: {
        type: 'How the node is shown.',
        id: 'For commands and events; clients do not see it.',
        'node-name': 'Name of the node.',
        writable: { about: 'Whether clients may write.', default: 'false' },
        writethrough: {
          about: 'Whether every write is on stable storage before it is answered.',
          default: 'false',
        },
        iothread: {
          about: 'Name of an iothread (`object-add`): a hint that is passed over.',
          default: 'one thread serves all',
        },
        'fixed-iothread': {
          about: 'With `iothread` it is a demand, and refused.',
          default: 'false',
        },
        name: { about: 'Name for clients.', default: 'the name of the node' },
        description: DESCRIPTION,
        bitmaps: {
          about:
            'Shown as meta contexts `qemu:dirty-bitmap:NAME`. They are looked for on the node ' +
            'and below it, and are busy while they are shown.',
          default: 'none',
        },
        'allocation-depth': {
          about:
            'Shows the meta context `qemu:allocation-depth`: 1 everywhere, as raw disks have no ' +
            'backing files.',
          default: 'false',
        },
      },
    },
    BlockExportInfo: {
      about: 'An export as queries show it.',
      members: {
        id: 'Its id.',
        type: 'How the node is shown.',
        'node-name':
          'The node that its clients are on: the one that was asked for, or what has taken its ' +
          'place since. A filter that nobody has named is looked through.',
        'shutting-down': 'Whether it has been taken away, and clients are still leaving.',
        'x-clients': 'One text for each client: `HOST:PORT`, or `client of unix:PATH`.',
        'x-requests': 'What clients have asked of it since it exists.',
      },
    },
    ExportRequests: {
      about:
        'Requests of the clients of an export, past ones included. What was refused counts as an ' +
        'error alone.',
      members: {
        reads: 'How many reads.',
        'read-bytes': 'Bytes that were to be read.',
        writes: 'How many writes.',
        'written-bytes': 'Bytes that came with them.',
        flushes: 'How many flushes.',
        discards: 'How many trims and writes of zeroes.',
        errors:
          'How many requests of any kind failed or were refused; not what the disk cannot do, ' +
          'for clients try that and do without.',
      },
    },
    NbdServerOptions: {
      about: "The command line's `--nbd-server`: `nbd-server-start` with a flat address.",
      members: {
        addr: 'Where, in the flat form.',
        'handshake-max-seconds': HANDSHAKE,
        'tls-creds': TLS_CREDS,
        'max-connections': CONNECTIONS,
      },
    },
  },
} as const satisfies Docs;
