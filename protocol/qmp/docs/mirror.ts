import { BITMAP_PITFALL } from './working-bitmap.ts';

/** The two commands that start a mirror. */
const POLICY = (side: string) => ({
  about: `What an error of the ${side} does to the job.`,
  default: '`report`',
});

const MEMBERS = {
  'job-id': {
    about: 'For commands and events: a letter, then letters, digits, `-`, `.` and `_`.',
    default: 'refused: a node has no device whose name the job could take',
  },
  device: 'Name of the source node. Nothing but other mirrors may be on top of it.',
  replaces: {
    about: 'Name of the node whose place the target takes: the source itself, or refused.',
    default: 'the source',
  },
  sync: 'What is copied at first. No node here has a backing file, so `top` is `full`.',
  bitmap: {
    about:
      'Name of the *working bitmap*, on the source node itself: recording, not busy, and ' +
      'only with `sync: full`. Only what is dirty in it is copied at first, and at the ' +
      'end, well or not, it holds all that the target lacks; when it did not end well, also ' +
      'what the target had not answered or flushed, and may lack. The job has its ' +
      'granularity. While the job runs it is busy, and `recording` is false.',
    default: 'a private one with everything dirty',
  },
  speed: {
    about: 'Limit of background copies in bytes per second, also after READY.',
    default: '0: none',
  },
  granularity: {
    about: 'Bytes in which the job counts: a power of two from 512 to 64 MiB.',
    default: '65536, or that of the bitmap',
  },
  'buf-size': { about: 'Bytes of copies in flight at a time.', default: '0: our own choice' },
  'on-source-error': POLICY('source'),
  'on-target-error': POLICY('target'),
  'copy-mode': { about: 'When client writes reach the target.', default: '`background`' },
  'auto-finalize': {
    about: 'Whether it goes on by itself from `pending`, or waits for `job-finalize`.',
    default: 'true',
  },
  'auto-dismiss': {
    about: 'Whether it disappears from `concluded` by itself, or waits for `job-dismiss`.',
    default: 'true',
  },
  'x-target-cluster-size': {
    about:
      'Bytes of a cluster of the image behind the target, a power of two from 512 to ' +
      '2 MiB: whatever is written there is whole clusters, with what the source has ' +
      'around a write. For diff images: see the pitfall below.',
    default: 'writes are as large as granules, or as client writes are',
  },
} as const;

const CANNOT_REPLACE =
  "Cannot replace 'n' by a node mirrored from 's', because it cannot be guaranteed that doing so " +
  'would not lead to an abrupt change of visible data';
const CONFLICT = "Permission conflict on node 'n': it is written to by export e0, and a mirror";
const IS_LEAVING =
  "Cannot mirror node 'n': the mirror with filter 'f' is being completed, and moves the clients " +
  'to its target';

const ERRORS = {
  "Cannot find device='n' nor node-name='n'": 'there is no such node',
  'Need a root block node': 'something is on top of the source',
  "Parameter 'granularity' expects a value in range [512B, 64MB]": 'it is out of range',
  "Parameter 'granularity' expects a power of 2": 'it is none',
  "Parameter 'x-target-cluster-size' expects a value in range [512B, 2MB]": 'it is out of range',
  "Parameter 'x-target-cluster-size' expects a power of 2": 'it is none',
  "Sync mode 'top' not supported with bitmap.": '`bitmap` needs `sync: full`',
  'Granularity and bitmap cannot both be set': 'the bitmap has one already',
  "Dirty bitmap 'x' not found": 'the source node itself has none of this name',
  "Bitmap 'x' is currently in use by another operation and cannot be used":
    'another job works with it, or an export shows it',
  "Bitmap 'x' is not enabled": 'it does not record, so it may have missed writes',
  "Failed to find node with node-name='n'": '`replaces` names a node that is not there',
  [CANNOT_REPLACE]: '`replaces` names another node than the source',
  "Sync mode 'bitmap' not supported": 'it belongs to other jobs, as `incremental` does',
  "Invalid parameter 'buf-size'": 'it is negative',
  "Invalid job ID 'x'": 'it is not well formed',
  "Job ID 'm' already in use": 'it is taken, perhaps by a job that waits for `job-dismiss`',
  "Parameter 'speed' expects a non-negative value": 'it is negative',
  [`${CONFLICT} of node 's' would not see that`]: 'somebody writes below the source',
  [IS_LEAVING]: 'as it says',
  "Granularity 512 is too small for node 'n' of 281474976710656 bytes":
    'there would be more granules than memory can hold',
} as const;

export const MIRROR_DOCS = {
  'blockdev-mirror': {
    about:
      'Starts a mirror: copies one node to another while clients go on using the first. The ' +
      'reply comes when the job runs; events tell the rest.',
    members: {
      ...MEMBERS,
      target:
        'Name of the target node: writable, of the same size, written to by nobody else. What is ' +
        'zero, or trimmed, gives its space back if its `discard` is `unmap`.',
      'filter-node-name': {
        about: 'Name of the filter that is put on the source while the job runs.',
        default: 'made up (`#block1`)',
      },
      'target-is-zero': {
        about: 'Promises that the target reads as zero everywhere; false promises corrupt it.',
        default: 'false: the target is asked',
      },
    },
    more: BITMAP_PITFALL,
    errors: {
      ...ERRORS,
      "Node 'n' is busy: block device is in use by block job: mirror":
        'it is the target of a mirror already',
      "Can't mirror node into itself": 'source and target are the same',
      'Block node is read-only': 'the target is',
      [`${CONFLICT} must be the only one who writes to its target`]: 'as it says',
      "Duplicate nodes with node-name='n'": 'the name of the filter is taken',
    },
  },
  'drive-mirror': {
    about:
      'Starts a mirror to an NBD server that it connects to itself. The node is closed when the ' +
      'job ends; when clients were moved to it, it stays, as if `blockdev-add` had made it. Its ' +
      '`discard` is the one of the source. ' +
      'Everything else is as with `blockdev-mirror`.',
    members: {
      ...MEMBERS,
      target:
        'The export: `nbd://HOST:PORT/NAME`, `nbd+unix:///NAME?socket=PATH`, ' +
        '`nbd:HOST:PORT:exportname=NAME` or `nbd:unix:PATH:exportname=NAME`. Nothing else: ' +
        'other disks are for `blockdev-add` and `blockdev-mirror`.',
      format: {
        about:
          '`raw` (a `raw` node with the name, above an `nbd` node without one) or `nbd` (the ' +
          '`nbd` node alone). Nothing is probed.',
        default: '`nbd`',
      },
      'node-name': {
        about: 'Name of the node that is made; needed with `replaces`.',
        default: 'made up (`#block1`)',
      },
      mode: {
        about: 'Whether the target is there already; an export always is.',
        default: '`absolute-paths`',
      },
      unmap: {
        about:
          'Whether zeroes may give storage of the target back (as TRIM does). Without, what was ' +
          'allocated stays so.',
        default: 'true',
      },
    },
    errors: {
      ...ERRORS,
      'a node-name must be provided when replacing a named node of the graph':
        '`replaces` needs `node-name`',
      "Backing file not supported for file format 'raw'":
        '`sync: none` with `mode: absolute-paths` would need a target with a backing file',
      'Cannot grow NBD nodes':
        'the export is shorter than the source (with `mode: existing` the job fails instead)',
      "Unknown file format 'qcow2'": '`format` is neither `raw` nor `nbd`',
      "Unknown driver 'qcow2'": 'the same, with `mode: existing`',
      'Cannot open node "#block003": Cannot connect to unix:/run/x.sock: there is no such socket':
        'there is no server, or, in other words, it does not export this',
      "Duplicate nodes with node-name='n'": 'the name of the target is taken',
    },
  },
} as const;
