import { join } from 'node:path';
import { it } from 'vitest';
import { mustRun } from '../support/process.ts';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds, describeRecentQsd } from '../support/qsd.ts';

const PEERS = ['qemu-io'];

/** Bitmaps that hold something, and jobs that change, beside qemu-storage-daemon. */
const send = (...message: [command: string, given?: object]): Step => ({ send: message });
const nodes: readonly Step[] = ['a', 'b'].map((name) =>
  send('blockdev-add', { driver: 'file', 'node-name': name, filename: `$D/${name}.img` }),
);
const on = (name: string, node = 'b') => ({ node, name });
const sha256 = (name: string) => send('x-debug-block-dirty-bitmap-sha256', on(name));
const act = (type: string, data: object) => ({ type: `block-dirty-bitmap-${type}`, data });
const mirror = { 'job-id': 'm0', device: 'a', target: 'b', sync: 'full' };
const gone: Step['until'] = ['JOB_STATUS_CHANGE', { id: 'm0', status: 'null' }];

/** Two bitmaps on the target of a mirror, which has dirtied `full`; `clean` was there later. */
const dirtied: readonly Step[] = [
  ...nodes,
  send('block-dirty-bitmap-add', { ...on('full'), granularity: 4096 }),
  { ...send('blockdev-mirror', mirror), until: ['BLOCK_JOB_READY', { device: 'm0' }] },
  { ...send('job-cancel', { id: 'm0' }), until: gone },
  send('block-dirty-bitmap-add', on('clean')),
  sha256('full'),
];

describeQsds('bitmaps that hold something, as in QEMU,', [], (program) => {
  it.each([
    act('clear', on('full')),
    act('disable', on('full')),
    act('remove', on('full')),
    act('add', { ...on('new'), granularity: 512 }),
    act('merge', { node: 'b', target: 'clean', bitmaps: ['full'] }),
    act('merge', { node: 'b', target: 'full', bitmaps: ['clean', { node: 'b', name: 'full' }] }),
  ])('in a transaction that fails after $type, and in one that does not', async (action) => {
    const actions = [action, act('enable', on('clean'))];
    await expectSameConversation(program, [
      ...dirtied,
      send('transaction', { actions: [...actions, { type: 'abort', data: {} }] }),
      send('query-named-block-nodes'),
      sha256('full'),
      sha256('clean'),
      send('transaction', { actions: [...actions, act('clear', on('zz'))] }),
      send('query-named-block-nodes'),
      send('transaction', { actions }),
      send('query-named-block-nodes'),
      sha256('full'),
      sha256('clean'),
      sha256('new'),
    ]);
  });

  it('in merges of different sizes', async () => {
    await expectSameConversation(program, [
      ...dirtied,
      send('blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'a', size: 65536 }),
      send('block-dirty-bitmap-add', on('small', 'r')),
      send('block-dirty-bitmap-merge', { node: 'b', target: 'full', bitmaps: [on('small', 'r')] }),
      send('block-dirty-bitmap-merge', { node: 'r', target: 'small', bitmaps: [on('full')] }),
      send('block-dirty-bitmap-merge', { node: 'b', target: 'clean', bitmaps: ['full', 'full'] }),
      sha256('clean'),
      send('blockdev-del', { 'node-name': 'r' }),
    ]);
  });
});

describeQsds('bitmaps of a disk with clients, as in QEMU,', PEERS, (program) => {
  it.each(['ignore', 'unmap'])('and TRIM, discard=%s', async (discard) => {
    const uri = (directory: string) => `nbd+unix:///a?socket=${join(directory, 'nbd')}`;
    await expectSameConversation(
      program,
      [
        send('blockdev-add', { driver: 'file', 'node-name': 'a', filename: '$D/a.img', discard }),
        send('block-dirty-bitmap-add', on('trimmed', 'a')),
        send('nbd-server-start', { addr: { type: 'unix', data: { path: '$D/nbd' } } }),
        send('block-export-add', { type: 'nbd', id: 'e0', 'node-name': 'a', writable: true }),
        { ...send('query-named-block-nodes'), repaired: true },
      ],
      {
        repair: async (directory) => {
          await mustRun('qemu-io', [
            '-f',
            'raw',
            '-d',
            'unmap',
            '-c',
            'discard 0 128k',
            uri(directory),
          ]);
        },
      },
    );
  });
});

const noCommit = {
  error: { class: 'GenericError', desc: "Parameter 'type' does not accept value 'commit'" },
};

describeRecentQsd('what newer QEMUs alone have, or say in other words', (program) => {
  it('block-job-change', async () => {
    const change = (given: object) =>
      send('block-job-change', {
        id: 'm0',
        type: 'mirror',
        'copy-mode': 'write-blocking',
        ...given,
      });
    await expectSameConversation(program, [
      ...nodes,
      change({}),
      { ...send('blockdev-mirror', mirror), until: ['BLOCK_JOB_READY', { device: 'm0' }] },
      { ...change({ type: 'commit' }), differs: { row: 'job-types', ours: noCommit } },
      change({ 'copy-mode': 'background' }),
      change({}),
      change({}),
      change({ 'copy-mode': 'background' }),
      change({ 'copy-mode': 'none' }),
      { ...send('job-complete', { id: 'm0' }), until: gone },
      change({}),
    ]);
  });

  it('completion-mode grouped', async () => {
    const grouped = (actions: readonly object[]) =>
      send('transaction', { actions, properties: { 'completion-mode': 'grouped' } });
    await expectSameConversation(program, [
      ...dirtied,
      grouped([]),
      grouped([act('clear', on('full'))]),
      grouped([{ type: 'abort', data: {} }]),
      sha256('full'),
    ]);
  });

  it('handshake-max-seconds', async () => {
    const addr = { type: 'unix', data: { path: '$D/nbd' } };
    await expectSameConversation(program, [
      send('nbd-server-start', { addr, 'handshake-max-seconds': 'x' }),
      send('nbd-server-start', { addr, 'handshake-max-seconds': 5 }),
      send('nbd-server-stop'),
    ]);
  });
});
