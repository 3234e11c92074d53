import { it } from 'vitest';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds, describeRecentQsd } from '../support/qsd.ts';

/** The same script to qemu-storage-daemon and to us: what changes nodes that are open. */
const file = (name: string, more: object = {}): Step['send'] => [
  'blockdev-add',
  { driver: 'file', 'node-name': name, filename: `$D/${name}.img`, ...more },
];
const sends = (...all: Step['send'][]): Step[] => all.map((send) => ({ send }));

describeQsds('nodes as qemu-storage-daemon changes them', [], (program) => {
  it('in objects and what they throttle', async () => {
    const group = (given: object): Step['send'] => [
      'object-add',
      { 'qom-type': 'throttle-group', id: 'tg', ...given },
    ];
    const limits = (given: object) => group({ limits: given });
    const throttle = (given: object): Step['send'] => [
      'blockdev-add',
      { driver: 'throttle', 'node-name': 't', 'throttle-group': 'tg', file: 'a', ...given },
    ];
    await expectSameConversation(
      program,
      sends(
        ['object-add', { 'qom-type': 'foo', id: 'x' }],
        group({ id: undefined }),
        group({ id: '0x' }),
        group({ x: 5 }),
        group({ 'x-iops-total': -1 }),
        group({ 'x-bps-total': 1e15 + 1 }),
        group({ 'x-iops-size': 8, 'x-bps-total': 5 }),
        limits({ foo: 1 }),
        limits({ 'iops-total': -1 }),
        limits({ 'iops-total': 1, 'iops-read': 1 }),
        limits({ 'bps-total-max': 1, 'bps-write-max': 1 }),
        limits({ 'iops-total-max': 1 }),
        limits({ 'iops-total': 10, 'iops-total-max': 1 }),
        limits({ 'iops-total': 10, 'iops-total-max-length': 10 }),
        limits({ 'iops-total': 10, 'iops-total-max': 10, 'iops-total-max-length': 0 }),
        limits({ 'iops-total': 10, 'iops-total-max': 10, 'iops-total-max-length': 1e10 }),
        limits({ 'bps-total': 1e9, 'bps-total-max': 1e13, 'bps-total-max-length': 1e6 }),
        limits({ 'iops-size': 10 }),
        limits({ 'iops-total': 100 }),
        group({}),
        ['object-add', { 'qom-type': 'iothread', id: 'tg' }],
        ['object-add', { 'qom-type': 'iothread', id: 'io0', 'poll-max-ns': 5 }],
        ['object-add', { 'qom-type': 'iothread', id: 'io1', x: 5 }],
        ...[
          ...[{ 'poll-max-ns': -1 }, { 'poll-grow': -1 }, { 'aio-max-batch': -1 }],
          ...[{ 'thread-pool-min': -1 }, { 'thread-pool-min': 65 }, { 'thread-pool-max': 0 }],
          ...[{ 'thread-pool-max': 2 ** 31 }, { 'thread-pool-min': 2, 'thread-pool-max': 1 }],
        ].map((wrong): Step['send'] => [
          'object-add',
          { 'qom-type': 'iothread', id: 'io1', ...wrong },
        ]),
        file('a'),
        throttle({ 'throttle-group': 'zz' }),
        throttle({ 'throttle-group': 'io0' }),
        throttle({ 'throttle-group': 'zz', file: 'zz' }),
        throttle({ 'throttle-group': undefined }),
        throttle({ file: undefined }),
        throttle({}),
        ['object-del', { id: 'tg' }],
        ['object-del', { id: 'zz' }],
        ['object-del', { id: 'io0' }],
        ['blockdev-del', { 'node-name': 'a' }],
        ['blockdev-del', { 'node-name': 't' }],
        ['object-del', { id: 'tg' }],
      ),
    );
  });

  it('in resizing', async () => {
    const resize = (given: object): Step['send'] => ['block_resize', given];
    const of = (name: string, size: number) => resize({ 'node-name': name, size });
    await expectSameConversation(program, [
      ...sends(file('a'), file('b', { 'read-only': true })),
      ...sends(
        ['block-dirty-bitmap-add', { node: 'a', name: 'b0' }],
        of('zz', 1 << 20),
        resize({ size: 1 << 20 }),
        resize({ device: 'a', size: 1 << 20 }),
        of('a', -1),
        resize({ 'node-name': 'a' }),
        of('b', 2 << 20),
        of('a', 2 << 20),
        ['query-named-block-nodes'],
        of('a', 1 << 19),
        ['query-named-block-nodes'],
        ['blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'a' }],
        of('r', 3 << 20),
        ['query-named-block-nodes'],
        ['blockdev-del', { 'node-name': 'r' }],
        ['blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'a', size: 1 << 20 }],
        of('r', 3 << 20),
        ['nbd-server-start', { addr: { type: 'unix', data: { path: '$D/nbd' } } }],
        ['block-export-add', { type: 'nbd', id: 'e0', 'node-name': 'a' }],
        of('a', 1 << 20),
      ),
    ]);
  });

  it('in reopening', async () => {
    const reopen = (...options: object[]): Step['send'] => ['blockdev-reopen', { options }];
    const a = (more: object = {}) => (file('a', more) as [string, object])[1];
    const throttle = { driver: 'throttle', 'node-name': 't', file: 'a' };
    const raw = { driver: 'raw', 'node-name': 'r', file: 'a' };
    await expectSameConversation(
      program,
      sends(
        file('a'),
        reopen(a({ 'node-name': undefined })),
        reopen(a({ 'node-name': 'zz' })),
        reopen(a({ filename: '$D/b.img' })),
        reopen(a({ driver: 'host_device' })),
        reopen(a({ 'read-only': true })),
        ['query-named-block-nodes'],
        reopen(a({ discard: 'unmap', 'detect-zeroes': 'unmap' })),
        ['query-named-block-nodes'],
        reopen(a()),
        ['blockdev-del', { 'node-name': 'a' }],
        file('a', { 'read-only': true }),
        ['query-named-block-nodes'],
        reopen(a()),
        ['query-named-block-nodes'],
        ['object-add', { 'qom-type': 'throttle-group', id: 'one' }],
        ['object-add', { 'qom-type': 'throttle-group', id: 'two' }],
        ['blockdev-add', { ...throttle, 'throttle-group': 'one' }],
        reopen({ ...throttle, 'throttle-group': 'zz' }),
        reopen({ ...throttle, 'throttle-group': 'two' }),
        ['object-del', { id: 'one' }],
        ['object-del', { id: 'two' }],
        ['blockdev-del', { 'node-name': 't' }],
        ['blockdev-add', raw],
        reopen({ ...raw, 'detect-zeroes': 'unmap' }),
        reopen({ ...raw, discard: 'unmap', 'detect-zeroes': 'unmap' }),
        ['query-named-block-nodes'],
        reopen({ ...raw, file: { driver: 'file', filename: '$D/a.img' } }),
        reopen({ ...raw, file: 'zz' }),
        ['nbd-server-start', { addr: { type: 'unix', data: { path: '$D/nbd' } } }],
        ['block-export-add', { type: 'nbd', id: 'e0', 'node-name': 'a', writable: true }],
        reopen(a({ 'read-only': true })),
        reopen(a({ cache: { 'no-flush': true } })),
        ['query-named-block-nodes'],
      ),
    );
  });
});

describeRecentQsd('nodes as newer QEMUs alone speak of them', (program) => {
  it('in windows that begin before their disk', async () => {
    const raw = (more: object): Step['send'] => [
      'blockdev-add',
      { driver: 'raw', 'node-name': 'r', file: 'a', ...more },
    ];
    await expectSameConversation(
      program,
      sends(
        file('a'),
        raw({ offset: -1 }),
        raw({ size: -512 }),
        raw({ size: -512, offset: -2 }),
        raw({ file: { driver: 'raw', file: 'a', size: -1 } }),
        // Which of two mistakes is told.
        raw({ file: 'zz', offset: -1 }),
        raw({ 'node-name': 'a', offset: -1 }),
      ),
    );
  });

  it('in resizing what a mirror works on', async () => {
    const resize = (name: string): Step => ({
      send: ['block_resize', { 'node-name': name, size: 2 << 20 }],
    });
    const mirror = { 'job-id': 'm0', device: 'a', target: 'b', sync: 'full' };
    await expectSameConversation(program, [
      ...sends(file('a'), file('b')),
      {
        send: ['blockdev-mirror', { ...mirror, 'filter-node-name': 'top' }],
        until: ['BLOCK_JOB_READY', { device: 'm0' }],
      },
      ...['a', 'b', 'top'].map(resize),
    ]);
  });
});
