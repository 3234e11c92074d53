import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'vitest';
import { startProcess } from '../support/peers.ts';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds } from '../support/qsd.ts';

/** `drive-mirror` to an NBD server, of qemu-storage-daemon and of us. */
const MIB = 1 << 20;
const URI = 'nbd+unix:///copy?socket=$D/nbd.sock';
const node: Step = {
  send: ['blockdev-add', { driver: 'file', 'node-name': 'a', filename: '$D/a.img' }],
};
const drive = (given: object, until?: Step['until']): Step => ({
  send: [
    'drive-mirror',
    { 'job-id': 'm0', device: 'a', target: URI, sync: 'full', granularity: MIB, ...given },
  ],
  ...(until && { until }),
});
const send = (...message: [command: string, given?: object]): Step => ({ send: message });
const ready: Step['until'] = ['BLOCK_JOB_READY', { device: 'm0' }];
const gone: Step['until'] = ['JOB_STATUS_CHANGE', { id: 'm0', status: 'null' }];
const nodes = send('query-named-block-nodes');

/** A server of `b.img` in each side's directory. */
async function prepare(directory: string): Promise<void> {
  const socket = join(directory, 'nbd.sock');
  const args = ['--persistent', '-k', socket, '-f', 'raw', '-e', '0', '-x', 'copy'];
  await startProcess('qemu-nbd', [...args, join(directory, 'b.img')], { readySocket: socket });
}

const PEERS = ['qemu-nbd'];

describeQsds('drive-mirror, as of qemu-storage-daemon,', PEERS, (program) => {
  it('in refusing to start', async () => {
    const there = { mode: 'existing', format: 'raw' };
    const nobody = 'nbd+unix:///copy?socket=/nobody/is/here';
    await expectSameConversation(
      program,
      [
        node,
        drive({ ...there, device: 'zz' }),
        drive({ ...there, replaces: 'a' }),
        drive({ ...there, replaces: 'zz', 'node-name': 't' }),
        drive({ ...there, format: 'foo' }),
        drive({ ...there, 'job-id': undefined }),
        drive({ ...there, 'job-id': '0m' }),
        drive({ ...there, granularity: 100 }),
        drive({ ...there, 'buf-size': -1 }),
        drive({ ...there, speed: -1 }),
        drive({ ...there, 'node-name': 'a' }),
        drive({ ...there, 'node-name': '0t' }),
        drive({ ...there, sync: 'bitmap' }),
        drive({ ...there, sync: 'foo' }),
        drive({ ...there, mode: 'foo' }),
        drive({ format: 'raw', sync: 'none' }),
        drive({ format: 'nbd', sync: 'none' }),
        drive({ sync: 'none' }),
        drive({ format: 'foo', sync: 'none' }),
        drive({ format: 'foo' }),
        drive({ ...there, 'filter-node-name': 'f' }),
        // Which of two mistakes is told.
        drive({ ...there, device: 'zz', target: nobody }),
        drive({ ...there, target: nobody, replaces: 'a' }),
        drive({ ...there, granularity: 100, 'node-name': 'a' }),
        drive({ format: 'raw', sync: 'none', replaces: 'a' }),
        nodes,
      ],
      { prepare, events: { row: 'job-that-never-was', ours: [] } },
    );
  });

  it.each(['existing', 'absolute-paths'])('to a smaller disk, %s', async (mode) => {
    await expectSameConversation(program, [node, drive({ format: 'raw', mode }), nodes], {
      prepare: async (directory) => {
        await truncate(join(directory, 'b.img'), MIB / 2);
        await prepare(directory);
      },
    });
  });

  it.each(['raw', 'nbd', undefined])('to its end, with the format %s', async (format) => {
    const given = { format, mode: 'existing', 'node-name': 't' };
    await expectSameConversation(
      program,
      [
        node,
        drive(given, ready),
        // The name is taken by the job's node, which nobody else may remove.
        send('blockdev-add', { driver: 'file', 'node-name': 't', filename: '$D/b.img' }),
        send('blockdev-del', { 'node-name': 't' }),
        { ...send('block-job-cancel', { device: 'm0' }), until: gone },
        nodes,
      ],
      { prepare, pauses: { row: 'internal-pauses' } },
    );
  });

  it('to a completion that moves nobody', async () => {
    await expectSameConversation(
      program,
      [
        node,
        drive({ format: 'raw' }, ready),
        { ...send('job-complete', { id: 'm0' }), until: gone },
        nodes,
      ],
      { prepare },
    );
  });
});
