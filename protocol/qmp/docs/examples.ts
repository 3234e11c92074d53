/**
 * Sessions that a test plays, line by line, on two nodes of 1 MiB: `disk`, full of data, and
 * `copy`, empty. An example that is not true fails there.
 */
export type Line =
  | { readonly send: readonly [command: string, given?: object] }
  | { readonly return: unknown }
  | { readonly error: { readonly class: string; readonly desc: string } }
  | { readonly event: string; readonly data: object };

export interface Example {
  readonly title: string;
  readonly lines: readonly Line[];
}

const send = (command: string, given?: object): Line => ({
  send: given === undefined ? [command] : [command, given],
});
const DONE: Line = { return: {} };
const status = (value: string, id = 'm0'): Line => ({
  event: 'JOB_STATUS_CHANGE',
  data: { id, status: value },
});
const told = (event: string, bytes: number): Line => ({
  event,
  data: { type: 'mirror', device: 'm0', len: bytes, offset: bytes, speed: 0 },
});
const start = (given: object = {}): Line[] => [
  send('blockdev-mirror', {
    'job-id': 'm0',
    device: 'disk',
    target: 'copy',
    sync: 'full',
    ...given,
  }),
  status('created'),
  status('running'),
  DONE,
];
const ready = (bytes: number): Line[] => [status('ready'), told('BLOCK_JOB_READY', bytes)];
const wellEnded = (bytes: number): Line[] => [
  status('waiting'),
  status('pending'),
  told('BLOCK_JOB_COMPLETED', bytes),
  status('concluded'),
  status('null'),
];
const DISK = 1 << 20;
const EXPORT = { id: 'e0', type: 'nbd', 'node-name': 'disk', 'shutting-down': false };
const NO_REQUESTS = {
  reads: 0,
  'read-bytes': 0,
  writes: 0,
  'written-bytes': 0,
  flushes: 0,
  discards: 0,
  errors: 0,
};
const on = (name: string) => ({ node: 'disk', name });
const action = (type: string, data: object) => ({ type: `block-dirty-bitmap-${type}`, data });
const merge = (target: string, from: string) =>
  action('merge', { node: 'disk', target, bitmaps: [from] });
const makeB: Line[] = [send('block-dirty-bitmap-add', on('B')), DONE];
const makeW: Line[] = [
  send('transaction', { actions: [action('add', on('W')), merge('W', 'B')] }),
  DONE,
];
const removeW: Line[] = [send('block-dirty-bitmap-remove', on('W')), DONE];
const cancelled = (bytes: number): Line[] => [
  send('block-job-cancel', { device: 'm0' }),
  DONE,
  ...wellEnded(bytes),
];

export const EXAMPLES: { readonly [command: string]: readonly Example[] } = {
  'blockdev-add': [
    {
      title: 'A node in memory with a window on it:',
      lines: [
        send('blockdev-add', { driver: 'x-memory', 'node-name': 'scratch', size: 65536 }),
        DONE,
        send('blockdev-add', { driver: 'raw', 'node-name': 'part', file: 'scratch', size: 4096 }),
        DONE,
        send('blockdev-del', { 'node-name': 'scratch' }),
        { error: { class: 'GenericError', desc: 'Block device scratch is in use' } },
      ],
    },
  ],
  'block-dirty-bitmap-add': [{ title: 'For example:', lines: makeB }],
  transaction: [
    {
      title: 'The second action fails, so the first has not happened either:',
      lines: [
        send('transaction', { actions: [action('add', on('a')), action('clear', on('b'))] }),
        { error: { class: 'GenericError', desc: "Dirty bitmap 'b' not found" } },
        send('block-dirty-bitmap-remove', on('a')),
        { error: { class: 'GenericError', desc: "Dirty bitmap 'a' not found" } },
      ],
    },
  ],
  'blockdev-mirror': [
    {
      title: 'A whole mirror, with the events in their order:',
      lines: [
        ...start(),
        ...ready(DISK),
        send('job-complete', { id: 'm0' }),
        DONE,
        ...wellEnded(DISK),
      ],
    },
    {
      title: '*Always*: the bitmap itself works.',
      lines: [...makeB, ...start({ bitmap: 'B' }), ...ready(0), ...cancelled(0)],
    },
    {
      title:
        '*Never*: a second bitmap works, and goes. A write between the two commands is in both.',
      lines: [
        ...makeB,
        ...makeW,
        ...start({ bitmap: 'W' }),
        ...ready(0),
        ...cancelled(0),
        ...removeW,
      ],
    },
    {
      title:
        '*On success*: the same, and when BLOCK_JOB_COMPLETED came without `error`, the first ' +
        'becomes the second in one transaction.',
      lines: [
        ...makeB,
        ...makeW,
        ...start({ bitmap: 'W' }),
        ...ready(0),
        ...cancelled(0),
        send('transaction', { actions: [action('clear', on('B')), merge('B', 'W')] }),
        DONE,
        ...removeW,
      ],
    },
  ],
  'job-cancel': [
    {
      title: 'Giving a READY mirror up:',
      lines: [
        ...start(),
        ...ready(DISK),
        send('job-cancel', { id: 'm0' }),
        DONE,
        status('aborting'),
        told('BLOCK_JOB_CANCELLED', DISK),
        status('concluded'),
        status('null'),
      ],
    },
  ],
  'job-finalize': [
    {
      title: 'A mirror that waits to be finalized, and to be dismissed:',
      lines: [
        ...start({ 'auto-finalize': false, 'auto-dismiss': false }),
        ...ready(DISK),
        send('job-complete', { id: 'm0' }),
        DONE,
        status('waiting'),
        status('pending'),
        { event: 'BLOCK_JOB_PENDING', data: { type: 'mirror', id: 'm0' } },
        send('job-finalize', { id: 'm0' }),
        DONE,
        told('BLOCK_JOB_COMPLETED', DISK),
        status('concluded'),
        send('job-dismiss', { id: 'm0' }),
        status('null'),
        DONE,
      ],
    },
  ],
  'query-jobs': [
    {
      title: 'With one mirror:',
      lines: [
        ...start(),
        ...ready(DISK),
        send('query-jobs'),
        {
          return: [
            {
              id: 'm0',
              type: 'mirror',
              status: 'ready',
              'current-progress': DISK,
              'total-progress': DISK,
            },
          ],
        },
      ],
    },
  ],
  'block-export-add': [
    {
      title: 'An export needs a server:',
      lines: [
        send('block-export-add', { type: 'nbd', id: 'e0', 'node-name': 'disk', writable: true }),
        { error: { class: 'GenericError', desc: 'NBD server not running' } },
        send('nbd-server-start', {
          addr: { type: 'inet', data: { host: '127.0.0.1', port: '0' } },
        }),
        DONE,
        send('block-export-add', { type: 'nbd', id: 'e0', 'node-name': 'disk', writable: true }),
        DONE,
        send('query-block-exports'),
        { return: [{ ...EXPORT, 'x-clients': [], 'x-requests': NO_REQUESTS }] },
        send('nbd-server-stop'),
        { event: 'BLOCK_EXPORT_DELETED', data: { id: 'e0' } },
        DONE,
      ],
    },
  ],
};
