import type { Docs } from './language.ts';

export const BLOCK_DOCS = {
  title: 'Block nodes',
  about:
    'Every disk is a node with a name: a file, a device, a remote server, or something on top of ' +
    'another node.',
  commands: {
    'blockdev-add': {
      about: 'Opens a node, and the nodes that its options describe inside.',
      errors: {
        "'node-name' must be specified for the root node": 'the outermost node has no name',
        "Invalid node-name: '0x'":
          'a name is a letter, then letters, digits, `-`, `.` and `_`, 31 at most',
        "Duplicate nodes with node-name='n'": 'the name is taken',
        "Cannot find device='n' nor node-name='n'": '`file` names a node that is not there',
        "Value '-1' is out of range for parameter 'offset'": 'so is a `size` below 0',
        'Could not open "/disk": No such file or directory':
          'the system refused; the sentence names the file and the reason',
        "Throttle group 'tg' does not exist": 'as it says',
        'Cannot open node "n": Cannot connect to unix:/run/x.sock: there is no such socket':
          'no server listens there',
        'requested x-dirty-bitmap qemu:dirty-bitmap:b not found': 'the server does not have it',
        'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap':
          'as it says',
      },
    },
    'blockdev-del': {
      about: 'Closes a node that nothing uses, and the nodes that were opened inside of it.',
      members: { 'node-name': 'Name of the node.' },
      errors: {
        "Failed to find node with node-name='n'": 'there is no such node',
        'Node n is in use': 'an export uses it, or it is the target of a mirror',
        "Node 'n' is busy: block device is in use by block job: mirror":
          'it is the source or the filter of a mirror',
        'Node n is not owned by the monitor': 'it came with another node',
        'Block device n is in use': 'another node is on top of it',
      },
    },
    'blockdev-reopen': {
      about:
        'Changes options of open nodes, of all in the list or of none. All options of a node are ' +
        'given; what is left out gets its default. These can change: `read-only`, ' +
        '`auto-read-only`, `discard`, `detect-zeroes`, `cache.no-flush` and `throttle-group`. ' +
        'Jobs and exports go on.',
      members: { options: 'Nodes, by their `node-name`, with all of their options.' },
      errors: {
        'node-name not specified': 'as it says',
        "Failed to find node with node-name='n'": 'there is no such node',
        "Cannot change the option 'filename'": 'it differs and cannot change',
        "Option 'size' cannot be reset to its default value":
          'it is missing and cannot change either',
        "Read-only block node 'n' cannot support read-write users":
          'an export or a job writes to it',
        'Failed to get "write" lock': 'it was opened read-only, and somebody else has the file',
        'Could not reopen "/a": it is another file by now': 'its name stands for another one',
        "Cannot find device='' nor node-name='n'": '`file` names a node that is not there',
        "Throttle group 'tg' does not exist": 'as it says',
        "Can't reopen read-only NBD mount as read/write": 'the server does not let us write',
        "Node 'n' cannot be reopened": 'it is the filter of a job',
      },
    },
    block_resize: {
      about:
        'Makes a disk longer or shorter, with all nodes on it. New bytes read as zeroes and are ' +
        'clean in bitmaps. A block device that has changed by itself is taken note of.',
      members: {
        device: { about: 'Disk of a guest, of which there is none.', default: 'nothing' },
        'node-name': { about: 'Name of the node.', default: 'refused' },
        size: 'New size in bytes.',
      },
      errors: {
        "Cannot find device='' nor node-name='n'": 'there is no such node',
        "Parameter 'size' expects a >0 size": 'it is negative',
        "Node 'n' is busy: block device is in use by block job: mirror":
          'it is the source, the filter or the target of a mirror',
        "Device 'n' is in use": 'a mirror uses a node above or below it',
        "Permission conflict on node 'n': permissions 'resize' are both required by ...":
          'an export shows the disk',
        "Bitmap 'b' is currently in use by another operation and cannot be used": 'as it says',
        "Node 'r' is a window on the disk, which cannot shrink":
          'a `raw` node with `offset` or `size` stands on the disk',
        'Image is read-only': 'the node cannot be written to',
        'Cannot resize fixed-size raw disks': 'a `raw` node with `size`',
        'Cannot grow NBD nodes': "the size is the server's",
        'Cannot resize NBD nodes': 'the same, when it would be shorter',
        'Cannot grow device files': 'the device is not that long',
        'Cannot resize device files': 'the device is longer',
      },
    },
    'query-named-block-nodes': {
      about: 'All nodes with their bitmaps, the youngest first.',
      members: {
        flat: { about: 'Leaves out backing files, which do not exist here.', default: 'false' },
      },
    },
    'query-block': { about: 'Disks of a guest. There is no guest, so the list is empty.' },
  },
  types: {
    BlockdevAioOptions: { about: 'How a file is read and written; a hint that is passed over.' },
    BlockdevDiscardOptions: {
      about:
        'What a trim does at a node. It gives space back where all nodes down to the disk let it.',
      members: {
        ignore: 'Nothing; nor do zeroes give space back.',
        unmap: 'It goes on to the node below, or gives the space back.',
      },
    },
    BlockdevDetectZeroesOptions: {
      about: 'What becomes of written data that is all zero.',
      members: {
        off: 'It is written as it is.',
        on: 'It is written as zeroes that take space, which is quicker than data.',
        unmap: 'It gives the space back; needs `discard: unmap`.',
      },
    },
    BlockdevCacheOptions: {
      about: 'What the page cache does for a file.',
      members: {
        direct: { about: 'Reads and writes past the page cache.', default: 'false' },
        'no-flush': {
          about: 'Flushes are answered and not done: fast, and lost with the power.',
          default: 'false',
        },
      },
    },
    BlockdevDriver: {
      about: 'What a node is.',
      members: {
        file: 'A regular file.',
        host_device: 'A block device.',
        nbd: 'An export of an NBD server.',
        throttle: 'Another node within the limits of a throttle group.',
        raw: 'A window on another node, or all of it.',
        'x-memory': 'Memory, zero at first, gone with the node.',
      },
    },
    BlockdevOptions: {
      about: 'How a node is opened.',
      members: {
        driver: 'What it is.',
        'node-name': {
          about: 'Its name: at most 31 letters, digits, `-`, `.` and `_`, a letter first.',
          default: 'required for the outermost node; made up (`#block1`) inside of another',
        },
        discard: {
          about: 'What a trim does.',
          default: '`ignore`; `unmap` inside of another node',
        },
        cache: { about: 'What the page cache does.', default: 'all of it' },
        'read-only': { about: 'Opens it for reading.', default: 'false' },
        'auto-read-only': {
          about: 'Opens it for reading when it cannot be opened for writing.',
          default: 'false',
        },
        'detect-zeroes': { about: 'What becomes of written zeroes.', default: '`off`' },
        filename: 'Path of the file or device.',
        aio: { about: 'A hint that is passed over.', default: 'our own choice' },
        server: 'Where the NBD server is.',
        export: { about: 'Name of the export.', default: 'the empty name' },
        'tls-creds': {
          about: "Refused (`No TLS credentials with id 'x'`): TLS is not offered.",
          default: 'no TLS',
        },
        'tls-hostname': {
          about: 'Name in the certificate of the server; refused without `tls-creds`.',
          default: 'the host',
        },
        'x-dirty-bitmap': {
          about:
            'Another metadata context in place of `base:allocation`, such as ' +
            '`qemu:dirty-bitmap:b`: what is dirty there is then no data in block status.',
          default: '`base:allocation`',
        },
        'throttle-group': 'Id of the group that allows requests.',
        'reconnect-delay': {
          about:
            'Seconds for which requests wait for a lost server before they fail. They are sent ' +
            'again when it is back; attempts go on for ever, 1 s apart, then 2 s, up to 16 s.',
          default: '0: they fail at once',
        },
        'open-timeout': {
          about: 'Seconds for which the first connection is tried again.',
          default: '0: once',
        },
        file: 'The node below: its name, or options to open it with.',
        offset: { about: 'Where the window begins, in bytes.', default: '0' },
        size: {
          about: 'Bytes: of the window (a multiple of 512), or of the memory.',
          default: 'all of it; required for `x-memory`',
        },
      },
    },
    BlockdevRef: { about: 'The name of a node that is there, or options to open one with.' },
    BlockdevCacheInfo: {
      about: 'What the page cache does for a node.',
      members: {
        writeback: 'Always true: a write may be lost until the next flush.',
        direct: 'Whether the page cache is passed by.',
        'no-flush': 'Whether flushes are not done.',
      },
    },
    ImageInfo: {
      about: 'What is in a node.',
      members: {
        filename: 'Path or URI, or the options as `json:{...}`.',
        format: 'The driver.',
        'virtual-size': 'Bytes of the disk.',
        'actual-size':
          'Absent: the disk would have to be asked, and one that hangs is not to keep the answer.',
        'dirty-flag': 'Always false.',
      },
    },
    BlockdevChild: {
      about: 'A node that another one is on.',
      members: {
        child: '`file`, or `backing` below the filter of a mirror.',
        'node-name': 'Its name.',
      },
    },
    BlockDeviceInfo: {
      about: 'A node as queries show it.',
      members: {
        file: 'Path or URI, or the options as `json:{...}`.',
        'node-name': 'Its name.',
        ro: 'Whether it cannot be written to.',
        drv: 'The driver; `mirror_top` is the filter of a mirror.',
        backing_file_depth: 'Always 0.',
        children: 'The nodes that it is on: at most one.',
        active: 'Always true.',
        encrypted: 'Always false.',
        detect_zeroes: 'What becomes of written zeroes.',
        bps: 'Limit of bytes per second; 0 is none, as for all that follow.',
        bps_rd: 'The same for reads.',
        bps_wr: 'The same for writes.',
        iops: 'Limit of requests per second.',
        iops_rd: 'The same for reads.',
        iops_wr: 'The same for writes.',
        image: 'What is in it.',
        cache: 'What the page cache does.',
        write_threshold: 'Always 0: there is none.',
        'dirty-bitmaps': 'Its bitmaps, the youngest first; absent without any.',
        'x-unreachable':
          'Why the server that has the disk cannot be reached at the moment (no connection, or ' +
          'no answer for 10 seconds), in a sentence; absent while it can, and for disks that ' +
          'need none.',
      },
    },
    BlockDeviceIoStatus: {
      about: 'Whether an error has stopped a job.',
      members: { ok: 'None has.', failed: 'One has.', nospace: 'There was no space.' },
    },
    BlockInfo: {
      about: 'A disk of a guest.',
      members: {
        device: 'Its name.',
        type: 'Nothing that a client may depend on.',
        removable: 'Whether its medium can be taken out.',
        locked: 'Whether the guest forbids that.',
        inserted: 'The node, when there is a medium.',
        'io-status': 'Whether an error has stopped it.',
      },
    },
  },
} as const satisfies Docs;
