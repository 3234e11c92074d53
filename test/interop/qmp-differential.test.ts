import { it } from 'vitest';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds } from '../support/qsd.ts';

/** The same script to qemu-storage-daemon and to us: the same answers, but for those marked. */
const refused = (desc: string) => ({ error: { class: 'GenericError', desc } });
const file = (name: string, more: object = {}): Step['send'] => [
  'blockdev-add',
  { driver: 'file', 'node-name': name, filename: `$D/${name}.img`, ...more },
];
const bitmap = (what: string, given: object): Step => ({
  send: [`block-dirty-bitmap-${what}`, { node: 'a', name: 'b0', ...given }],
});
/** Arguments that JSON.stringify would not write so. */
const command = (name: string, given: string): Step['send'] =>
  `{"execute": "${name}", "arguments": ${given}}`;
const sends = (...all: Step['send'][]): Step[] => all.map((send) => ({ send }));

describeQsds('QMP as qemu-storage-daemon speaks it', [], (program) => {
  it('in what is no command', async () => {
    await expectSameConversation(
      program,
      sends(
        '{"execute":"nope","id":{"a":[1,2.5,"\\u00e9"]}}',
        '{"execute":1}',
        '{"arguments":{}}',
        '{"execute":"query-version","arguments":1}',
        '{"execute":"query-version","x":{"x":1}}',
        '{"exec-oob":"query-version"}',
        '{"execute":"qmp_capabilities"}',
        '[1]',
        '"abc"',
        'nul',
        '{"a":1,}',
        '{a:1}',
        '{"a" 1}',
        '[1 2]',
        ']',
        '{"a":1,"a":2}',
        `{'execute':'it\\'s "q"'}`,
        '{"execute":"q\\u00"}',
        '{"execute":"q\\ud800"}',
        '{"execute":"q\\ud83d\\ude00\\u007f"}',
        '{"execute":"\\q"}',
        '['.repeat(1025),
        '{"execute":\u0001',
        '{"x":%',
        '"after garbage"',
      ),
    );
  });

  it('in arguments', async () => {
    await expectSameConversation(program, [
      ...sends(
        ['query-version', { x: 1 }],
        ['job-pause', {}],
        ['job-pause', { id: 1 }],
        ['job-pause', { id: 'a', z: 1 }],
        ['job-pause', { id: 'a' }],
        ['block-job-pause', { device: 'a' }],
        ['block-job-cancel', { device: 'a', force: 1 }],
        ['block-job-cancel', { device: 'a', force: true }],
        ['block-job-set-speed', { device: 'a', speed: 2 ** 64 }],
        ['block-job-set-speed', { device: 'a', speed: 1.5 }],
        ['qmp_capabilities', { enable: ['foo'] }],
        ['qmp_capabilities', { enable: 'oob' }],
        ['qmp_capabilities', { enable: [1] }],
        ['blockdev-add'],
        ['blockdev-add', { driver: 'foo' }],
        ['blockdev-add', { driver: 1 }],
        file('f0', { filename: undefined }),
        file('a', { x: 1 }),
        file('a', { cache: { direct: 1 } }),
        file('a', { cache: { direct: true, y: 1 } }),
        file('a', { aio: 'x' }),
        ['blockdev-add', { driver: 'raw', 'node-name': 'r', file: 5 }],
        ['blockdev-add', { driver: 'raw', 'node-name': 'r' }],
        ...[null, true, 1.5, '512', []].map((offset): Step['send'] => [
          'blockdev-add',
          { driver: 'raw', 'node-name': 'r', file: 'a', offset },
        ]),
        ['blockdev-add', { driver: 'raw', 'node-name': 'r', file: { driver: 'file' } }],
        ['blockdev-add', { driver: 'nbd', server: { type: 'unix', data: { path: 'a' } } }],
        ['blockdev-add', { driver: 'nbd', server: { type: 'inet', host: 'a' } }],
        ['blockdev-add', { driver: 'nbd' }],
        ['block-dirty-bitmap-add', { node: 'a', name: 'b', granularity: -5 }],
        ['block-dirty-bitmap-add', { node: 'a', name: 'b', granularity: 2 ** 32 }],
        ['block-dirty-bitmap-add', { node: 'a', name: 'b', granularity: 1.5 }],
        ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: [5] }],
        ['block-dirty-bitmap-merge', { node: 'a', target: 'b', bitmaps: [{ node: 'g' }] }],
        ['block-export-add', { type: 'foo', id: 'e0', 'node-name': 'a' }],
        ['block-export-add', { id: 'e0', 'node-name': 'a' }],
        ['block-export-del', { id: 'e0', mode: 'foo' }],
        ['nbd-server-start', { addr: { type: 'unix', path: 'a' } }],
        ['nbd-server-start', { addr: { type: 'unix', data: {} } }],
        ['nbd-server-start', { addr: { type: 'foo', data: {} } }],
        ['nbd-server-start', { addr: { type: 'inet', data: { host: 'a', port: 1 } } }],
        ['blockdev-mirror', { 'job-id': 'm', device: 'a', target: 'b', sync: 'foo' }],
      ),
      {
        send: ['block-job-set-speed', { device: 'a', speed: 2 ** 60 }],
        differs: {
          row: 'integers',
          ours: refused("Invalid parameter type for 'speed', expected: integer"),
        },
      },
      {
        send: ['blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'a', size: 2 ** 60 }],
        differs: {
          row: 'integers',
          ours: refused("Invalid parameter type for 'size', expected: integer"),
        },
      },
      {
        send: command('block-job-set-speed', '{"device": "a", "speed": 1.0}'),
        differs: {
          row: 'whole-numbers',
          ours: { error: { class: 'DeviceNotActive', desc: "Block job 'a' not found" } },
        },
      },
      {
        send: command('block-job-set-speed', '{"device": "\\uffff", "speed": 1}'),
        differs: {
          row: 'noncharacters',
          ours: { error: { class: 'DeviceNotActive', desc: "Block job '\uffff' not found" } },
        },
      },
      ...[9007199254740993n, 2n ** 64n - 1n, -(2n ** 63n)].map((granularity) => ({
        send: command(
          'block-dirty-bitmap-add',
          `{"node": "a", "name": "b", "granularity": ${granularity}}`,
        ),
      })),
      ...[70_000, -1, 2 ** 53].map((to) => ({
        send: [
          'nbd-server-start',
          { addr: { type: 'inet', data: { host: 'a', port: '1', to } } },
        ] as const,
      })),
    ]);
  });

  it('in block nodes', async () => {
    const raw = (name: string, more: object): Step['send'] => [
      'blockdev-add',
      { driver: 'raw', 'node-name': name, ...more },
    ];
    await expectSameConversation(program, [
      {
        send: file('nope'),
        differs: {
          row: 'file-sentences',
          ours: refused('Could not open "$D/nope.img": No such file or directory'),
        },
      },
      {
        send: file('a', { filename: '$D' }),
        differs: {
          row: 'file-sentences',
          ours: refused(
            'Could not open "$D": it is a directory, not a regular file or a block device',
          ),
        },
      },
      {
        send: file('a', { filename: '/dev/null' }),
        differs: {
          row: 'file-sentences',
          ours: refused(
            'Could not open "/dev/null": it is a character device, ' +
              'not a regular file or a block device',
          ),
        },
      },
      ...sends(
        ['query-named-block-nodes'],
        ['query-block'],
        file('a', { 'node-name': undefined }),
        file('a', { 'node-name': '0a' }),
        file('a', { 'node-name': '' }),
        file('a', { 'node-name': 'x'.repeat(32) }),
        file('a', { driver: 'host_device' }),
        file('a', { 'detect-zeroes': 'unmap' }),
        file('a'),
        file('a'),
        file('b', { 'node-name': 'a' }),
        raw('r0', { file: 'nope' }),
        raw('r0', { file: 'a', offset: 2 << 20 }),
        raw('r0', { file: 'a', offset: 512, size: 2_000_000 }),
        raw('r0', { file: 'a', size: 100 }),
        raw('r0', { file: 'a', size: 512 }),
        raw('a', { file: 'a' }),
        [
          'blockdev-add',
          {
            driver: 'nbd',
            'node-name': 'n',
            server: { type: 'unix', path: '$D/nbd' },
            'tls-creds': 't',
          },
        ],
        raw('r1', { file: { driver: 'file', filename: '$D/b.img' }, 'read-only': true }),
        ['blockdev-del', { 'node-name': 'a' }],
        ['blockdev-del', { 'node-name': 'zz' }],
        ['blockdev-del', { 'node-name': 'r0' }],
        ['query-named-block-nodes'],
        ['query-named-block-nodes', { flat: true }],
        ['blockdev-del', { 'node-name': 'r1' }],
        ['query-named-block-nodes'],
        ['blockdev-del', { 'node-name': 'a' }],
        ['query-named-block-nodes'],
      ),
    ]);
  });

  it('in bitmaps', async () => {
    await expectSameConversation(program, [
      ...sends(file('a'), file('b')),
      bitmap('add', { name: '' }),
      bitmap('add', { node: 'zz' }),
      bitmap('add', { granularity: 100 }),
      bitmap('add', { granularity: 0 }),
      bitmap('add', { granularity: 256 }),
      bitmap('add', { persistent: true }),
      bitmap('add', { name: 'x'.repeat(1024) }),
      bitmap('add', {}),
      bitmap('add', {}),
      bitmap('add', { name: 'b1', granularity: 512, disabled: true }),
      bitmap('add', { node: 'b', name: 'other' }),
      bitmap('remove', { node: 'zz' }),
      bitmap('remove', { name: 'zz' }),
      bitmap('clear', { name: 'zz' }),
      bitmap('enable', { name: 'zz' }),
      bitmap('disable', {}),
      bitmap('disable', {}),
      bitmap('enable', {}),
      bitmap('clear', {}),
      ...sends(
        ['block-dirty-bitmap-merge', { node: 'a', target: 'zz', bitmaps: [] }],
        ['block-dirty-bitmap-merge', { node: 'a', target: 'b0', bitmaps: ['b1', 'zz'] }],
        ['block-dirty-bitmap-merge', { node: 'a', target: 'b0', bitmaps: ['b1', 'b0'] }],
        [
          'block-dirty-bitmap-merge',
          { node: 'a', target: 'b0', bitmaps: [{ node: 'b', name: 'other' }] },
        ],
        [
          'block-dirty-bitmap-merge',
          { node: 'a', target: 'b0', bitmaps: [{ node: 'z', name: 'b' }] },
        ],
        ['x-debug-block-dirty-bitmap-sha256', { node: 'a', name: 'b0' }],
        ['x-debug-block-dirty-bitmap-sha256', { node: 'a', name: 'b1' }],
        ['x-debug-block-dirty-bitmap-sha256', { node: 'a', name: 'zz' }],
        ['query-named-block-nodes'],
      ),
      bitmap('remove', {}),
      bitmap('remove', { name: 'b1' }),
      ...sends(['query-named-block-nodes']),
    ]);
  });

  it('in transactions', async () => {
    const act = (type: string, data: object) => ({ type, data });
    const on = (name: string) => ({ node: 'a', name });
    await expectSameConversation(program, [
      ...sends(
        file('a'),
        ['transaction', { actions: [] }],
        ['transaction', { actions: [act('block-dirty-bitmap-add', on('b0'))] }],
        [
          'transaction',
          {
            actions: [
              act('block-dirty-bitmap-add', on('b1')),
              act('block-dirty-bitmap-disable', on('b0')),
              act('abort', {}),
            ],
          },
        ],
        ['query-named-block-nodes'],
        ['transaction', { actions: [act('block-dirty-bitmap-clear', on('zz'))] }],
        ['transaction', { actions: [act('nonsense', {})] }],
        ['transaction', { actions: [act('block-dirty-bitmap-clear', {})] }],
        [
          'transaction',
          {
            actions: [
              act('block-dirty-bitmap-add', on('b2')),
              act('block-dirty-bitmap-clear', on('b0')),
              act('block-dirty-bitmap-merge', { node: 'a', target: 'b0', bitmaps: ['b2'] }),
              act('block-dirty-bitmap-remove', on('b2')),
            ],
          },
        ],
        ['query-named-block-nodes'],
      ),
    ]);
  });

  it('in exports', async () => {
    const add = (id: string, more: object = {}): Step['send'] => [
      'block-export-add',
      { type: 'nbd', id, 'node-name': 'a', ...more },
    ];
    const server: Step['send'] = [
      'nbd-server-start',
      { addr: { type: 'unix', data: { path: '$D/nbd' } } },
    ];
    await expectSameConversation(program, [
      ...sends(
        file('a'),
        file('b', { 'read-only': true }),
        add('e0'),
        ['nbd-server-stop'],
        ['nbd-server-start', { addr: { type: 'unix', data: { path: '$D/n' } }, 'tls-creds': 't' }],
        [
          'nbd-server-start',
          { addr: { type: 'unix', data: { path: '$D/n' } }, 'max-connections': -1 },
        ],
        server,
        server,
        ['nbd-server-start', { addr: { type: 'unix', data: { path: '$D/n' } }, 'tls-creds': 't' }],
        add('0e'),
        add('e0', { 'node-name': 'zz' }),
        add('e0', { 'node-name': 'b', writable: true }),
        add('e0', { name: 'x'.repeat(4097) }),
        add('e0', { bitmaps: ['zz'] }),
        add('e0', { writable: true }),
        add('e0', { iothread: 'nope' }),
        add('e0', { iothread: 'nope', 'node-name': 'zz' }),
        add('e0', { iothread: 'nope', 'node-name': 'b', writable: true }),
        add('e0', { iothread: '', 'fixed-iothread': true }),
        ['object-add', { 'qom-type': 'iothread', id: 'io0' }],
        add('e0', { iothread: 'io0' }),
        add('e1'),
        add('e1', { 'node-name': 'b', name: 'second', description: 'd' }),
      ),
      bitmap('add', {}),
      ...sends(add('e2', { name: 'third', bitmaps: ['b0'] })),
      bitmap('disable', {}),
      ...sends(add('e2', { name: 'third', bitmaps: [{ node: 'a', name: 'b0' }] })),
      bitmap('remove', {}),
      bitmap('clear', {}),
      bitmap('enable', {}),
      bitmap('merge', { name: undefined, target: 'b0', bitmaps: ['b0'] }),
      ...sends(
        ['query-named-block-nodes'],
        add('e3', { name: 'fourth', bitmaps: ['b0'] }),
        ['query-block-exports'],
        ['blockdev-del', { 'node-name': 'a' }],
        ['block-export-del', { id: 'zz' }],
        ['block-export-del', { id: 'e2' }],
        ['block-export-del', { id: 'e1', mode: 'hard' }],
        ['nbd-server-add', { device: 'a' }],
        ['nbd-server-add', { device: 'zz' }],
        ['nbd-server-add', { device: 'b', name: 'legacy', writable: true }],
        ['nbd-server-remove', { name: 'zz' }],
        ['nbd-server-remove', { name: 'legacy' }],
        ['query-block-exports'],
        ['nbd-server-stop'],
        ['query-block-exports'],
        ['nbd-server-stop'],
        ['blockdev-del', { 'node-name': 'a' }],
      ),
    ]);
  });

  it('in refusing to start a mirror', async () => {
    const mirror = (given: object): Step => ({
      send: [
        'blockdev-mirror',
        { 'job-id': 'm0', device: 'a', target: 'b', sync: 'full', ...given },
      ],
    });
    await expectSameConversation(program, [
      ...sends(file('a'), file('b')),
      mirror({ device: 'zz' }),
      mirror({ target: 'zz' }),
      mirror({ target: 'a' }),
      mirror({ granularity: 5 }),
      mirror({ granularity: 1000 }),
      mirror({ granularity: 128 << 20 }),
      mirror({ 'buf-size': -1 }),
      mirror({ 'job-id': undefined }),
      mirror({ 'job-id': '0m' }),
      mirror({ 'filter-node-name': 'a' }),
      mirror({ 'filter-node-name': '0f' }),
      mirror({ 'filter-node-name': 'f'.repeat(32) }),
      mirror({ replaces: 'zz' }),
      mirror({ replaces: 'b' }),
      // Which of two mistakes is told.
      mirror({ replaces: 'zz', target: 'zz' }),
      mirror({ replaces: 'zz', granularity: 5 }),
      mirror({ replaces: 'zz', 'buf-size': -1 }),
      mirror({ replaces: 'b', target: 'a' }),
      ...sends(['query-jobs'], ['query-block-jobs']),
    ]);
  });

  it('in the life of a mirror', async () => {
    const status = (value: string): readonly [string, object] => [
      'JOB_STATUS_CHANGE',
      { id: 'm0', status: value },
    ];
    await expectSameConversation(program, [
      ...sends(file('a'), file('b')),
      {
        send: [
          'blockdev-mirror',
          {
            'job-id': 'm0',
            device: 'a',
            target: 'b',
            sync: 'full',
            'filter-node-name': 'top',
            'auto-finalize': false,
            'auto-dismiss': false,
          },
        ],
        until: ['BLOCK_JOB_READY', { device: 'm0' }],
      },
      ...sends(
        ['query-jobs'],
        ['block-job-set-speed', { device: 'm0', speed: -5 }],
        ['block-job-set-speed', { device: 'm0', speed: 1 << 20 }],
        ['block-job-set-speed', { device: 'm0', speed: 0 }],
        ...['a', 'b', 'top'].map((name) => ['blockdev-del', { 'node-name': name }] as const),
        ['job-resume', { id: 'm0' }],
        ['job-finalize', { id: 'm0' }],
        ['job-dismiss', { id: 'm0' }],
      ),
      { send: ['job-pause', { id: 'm0' }], until: status('standby') },
      ...sends(['job-pause', { id: 'm0' }], ['block-job-cancel', { device: 'm0' }], ['query-jobs']),
      { send: ['block-job-resume', { device: 'm0' }] },
      { send: ['job-complete', { id: 'm0' }], until: ['BLOCK_JOB_PENDING', { id: 'm0' }] },
      ...sends(['job-complete', { id: 'm0' }], ['job-pause', { id: 'm0' }], ['query-jobs']),
      { send: ['job-finalize', { id: 'm0' }], until: status('concluded') },
      ...sends(['query-jobs'], ['query-block-jobs'], ['job-pause', { id: 'm0' }]),
      { send: ['block-job-dismiss', { id: 'm0' }], until: status('null') },
      ...sends(['query-jobs'], ['job-dismiss', { id: 'm0' }]),
    ]);
  });

  it('in cancelling', async () => {
    const start = (id: string): Step => ({
      send: ['blockdev-mirror', { 'job-id': id, device: 'a', target: 'b', sync: 'full' }],
      until: ['BLOCK_JOB_READY', { device: id }],
    });
    const gone = (id: string): readonly [string, object] => [
      'JOB_STATUS_CHANGE',
      { id, status: 'null' },
    ];
    await expectSameConversation(program, [
      ...sends(file('a'), file('b')),
      start('soft'),
      { send: ['block-job-cancel', { device: 'soft' }], until: gone('soft') },
      start('forced'),
      { send: ['block-job-cancel', { device: 'forced', force: true }], until: gone('forced') },
      start('killed'),
      { send: ['job-cancel', { id: 'killed' }], until: gone('killed') },
      ...sends(['query-jobs'], ['blockdev-del', { 'node-name': 'b' }]),
    ]);
  });
});
