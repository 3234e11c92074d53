import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'vitest';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds } from '../support/qsd.ts';

/** Where qemu-storage-daemon does one thing and we, on purpose, another: a row a test. */
const send = (...message: [command: string, given?: object]): Step => ({ send: message });
const file = (name: string, more: object = {}): Step =>
  send('blockdev-add', {
    driver: 'file',
    'node-name': name,
    filename: `$D/${name}.img`,
    ...more,
  });
const raw = (name: string, more: object): Step =>
  send('blockdev-add', { driver: 'raw', 'node-name': name, ...more });
const remove = (name: string): Step => send('blockdev-del', { 'node-name': name });
const server = send('nbd-server-start', { addr: { type: 'unix', data: { path: '$D/nbd' } } });
const exported = (name: string, more: object = {}): Step =>
  send('block-export-add', { type: 'nbd', id: 'e0', 'node-name': name, ...more });
const mirror = (more: object = {}): Step => ({
  ...send('blockdev-mirror', {
    'job-id': 'm0',
    device: 'a',
    target: 'b',
    sync: 'full',
    ...more,
  }),
  until: ['BLOCK_JOB_READY', { device: 'm0' }],
});
const refused = (desc: string) => ({ error: { class: 'GenericError', desc } });
const done = { return: {} };

describeQsds('on purpose otherwise than qemu-storage-daemon,', [], (program) => {
  it('a disk is as long as its file', async () => {
    const desc =
      'The sum of offset (0) and size (100352) has to be smaller or equal to the ' +
      ' actual size of the containing file (100000)';
    await expectSameConversation(
      program,
      [
        file('a'),
        {
          ...raw('r', { file: 'a', size: 100_352 }),
          differs: { row: 'exact-sizes', ours: refused(desc) },
        },
      ],
      { prepare: (directory) => truncate(join(directory, 'a.img'), 100_000) },
    );
  });

  it('a file has one node that may write to it', async () => {
    const desc = 'Failed to get "write" lock: is another process using the image "$D/a.img"?';
    await expectSameConversation(program, [
      file('a'),
      {
        ...file('a', { 'node-name': 'again' }),
        differs: { row: 'one-node-a-file', ours: refused(desc) },
      },
    ]);
  });

  it('a child with a name stays, once its parent has gone', async () => {
    await expectSameConversation(program, [
      raw('r0', { file: { driver: 'file', 'node-name': 'inner', filename: '$D/a.img' } }),
      raw('r1', { file: 'inner' }),
      remove('inner'),
      remove('r0'),
      remove('r1'),
      { ...remove('inner'), differs: { row: 'children-that-stay', ours: done } },
    ]);
  });

  it('the target of a mirror has readers', async () => {
    await expectSameConversation(
      program,
      [
        ...[file('a'), file('b'), server, mirror()],
        { ...exported('b'), differs: { row: 'readers-of-a-target', ours: done } },
      ],
      { pauses: { row: 'internal-pauses' } },
    );
  });

  it('the target of a read-only source can be written to afterwards', async () => {
    await expectSameConversation(program, [
      ...[file('a', { 'read-only': true }), file('b'), server, mirror()],
      {
        ...send('job-complete', { id: 'm0' }),
        until: ['JOB_STATUS_CHANGE', { id: 'm0', status: 'null' }],
      },
      {
        ...exported('b', { writable: true }),
        differs: { row: 'read-only-source', ours: done },
      },
    ]);
  });

  it('a job that is pending is not paused', async () => {
    const pending = {
      ...{ type: 'mirror', device: 'm0', len: 1 << 20, offset: 1 << 20, speed: 0 },
      ...{ busy: false, paused: false, ready: false, status: 'pending', 'io-status': 'ok' },
      ...{ 'auto-finalize': false, 'auto-dismiss': true },
    };
    await expectSameConversation(program, [
      ...[file('a'), file('b'), mirror({ 'auto-finalize': false })],
      { ...send('job-complete', { id: 'm0' }), until: ['BLOCK_JOB_PENDING', { id: 'm0' }] },
      {
        ...send('query-block-jobs'),
        differs: { row: 'paused-in-pending', ours: { return: [pending] } },
      },
    ]);
  });
});
