import { it } from 'vitest';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds } from '../support/qsd.ts';

/**
 * iotest 223: everything that can be wrong with an export and its bitmaps, in the order in which it
 * is looked at. qemu-storage-daemon hears the same and has to answer the same.
 */
const add = (id: string, more: object = {}): Step => ({
  send: ['block-export-add', { type: 'nbd', id, 'node-name': 'a', ...more }],
});
const start: Step = {
  send: ['nbd-server-start', { addr: { type: 'unix', data: { path: '$D/nbd' } } }],
};
const send = (command: string, given?: object): Step => ({
  send: given === undefined ? [command] : [command, given],
});
const disk = (name: string, readOnly: boolean): Step =>
  send('blockdev-add', {
    driver: 'file',
    'node-name': name,
    filename: `$D/${name}.img`,
    'read-only': readOnly,
  });

describeQsds('exports of bitmaps as QEMU refuses them', [], (program) => {
  it('one mistake after the other', async () => {
    const long = 'n'.repeat(4097);
    await expectSameConversation(program, [
      disk('a', false),
      disk('b', true),
      send('block-dirty-bitmap-add', { node: 'a', name: 'on' }),
      send('block-dirty-bitmap-add', { node: 'a', name: 'off', disabled: true }),
      // Id, node, access, server: each mistake hides those that follow.
      add('0x', { 'node-name': 'nope', bitmaps: ['none'] }),
      add('', {}),
      add('e0', { 'node-name': 'nope', bitmaps: ['none'] }),
      add('e0', { 'node-name': 'b', writable: true, bitmaps: ['none'] }),
      add('e0', { name: long, bitmaps: ['none'] }),
      send('nbd-server-stop'),
      send('nbd-server-remove', { name: 'a' }),
      send('nbd-server-add', { device: 'a', bitmap: 'none' }),
      start,
      start,
      // Name, description, name again, bitmaps.
      add('e0', { name: long, description: long, bitmaps: ['none'] }),
      add('e0', { description: long, bitmaps: ['none'] }),
      add('e0', { bitmaps: ['none'] }),
      add('e0', { bitmaps: [{ node: 'nope', name: 'on' }] }),
      add('e0', { bitmaps: [{ node: 'a', name: 'none' }] }),
      add('e0', { bitmaps: ['on'] }),
      add('e0', { bitmaps: ['off', 'on'] }),
      send('nbd-server-add', { device: 'a', bitmap: 'none' }),
      send('nbd-server-add', { device: 'a', bitmap: 'on' }),
      send('nbd-server-add', { device: 'nope' }),
      // Below a filter that is read-only itself.
      send('object-add', { 'qom-type': 'throttle-group', id: 'tg' }),
      send('blockdev-add', {
        driver: 'throttle',
        'node-name': 't',
        'throttle-group': 'tg',
        file: 'a',
        'read-only': true,
      }),
      add('e0', { 'node-name': 't', bitmaps: ['on'] }),
      // Who names the node may have it; then it is busy, which is told last.
      add('e0', { bitmaps: [{ node: 'a', name: 'on' }] }),
      add('e1', { name: 'two', bitmaps: ['on'] }),
      add('e1', { name: 'two', writable: true, bitmaps: ['on'] }),
      {
        ...send('block-export-del', { id: 'e0' }),
        until: ['BLOCK_EXPORT_DELETED', { id: 'e0' }],
      },
      send('blockdev-del', { 'node-name': 't' }),
      // Nothing of that has left a trace.
      add('e0', { bitmaps: ['off'] }),
      add('e0', { name: 'other' }),
      add('e1', { bitmaps: ['none'] }),
      add('e1', { name: 'two', bitmaps: ['off'] }),
      add('e1', { name: 'two', writable: true, bitmaps: ['on', 'off'] }),
      add('e1', { name: 'two', writable: true, bitmaps: ['on'] }),
      send('nbd-server-add', { device: 'b', writable: true, bitmap: 'on' }),
      send('nbd-server-add', { device: 'b', writable: true }),
      send('nbd-server-add', { device: 'b' }),
      send('block-dirty-bitmap-remove', { node: 'a', name: 'off' }),
      send('block-dirty-bitmap-clear', { node: 'a', name: 'on' }),
      send('query-block-exports'),
      send('block-export-del', { id: 'nope' }),
      {
        ...send('block-export-del', { id: 'e0' }),
        until: ['BLOCK_EXPORT_DELETED', { id: 'e0' }],
      },
      send('block-export-del', { id: 'e0' }),
      send('block-dirty-bitmap-remove', { node: 'a', name: 'off' }),
      {
        ...send('nbd-server-remove', { name: 'b' }),
        until: ['BLOCK_EXPORT_DELETED', { id: 'b' }],
      },
      {
        ...send('nbd-server-stop'),
        until: ['BLOCK_EXPORT_DELETED', { id: 'e1' }],
      },
      send('nbd-server-stop'),
      send('block-export-del', { id: 'e1' }),
      send('query-block-exports'),
      send('block-dirty-bitmap-remove', { node: 'a', name: 'on' }),
    ]);
  });
});
