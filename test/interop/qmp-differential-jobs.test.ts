import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { startProcess } from '../support/peers.ts';
import { expectSameConversation, type Step } from '../support/qmp-differential.ts';
import { describeQsds } from '../support/qsd.ts';

/** Jobs of qemu-storage-daemon and of us: every verb in every state, every way to an end. */
const MIB = 1 << 20;
const send = (...message: [command: string, given?: object]): Step => ({ send: message });
const nodes: readonly Step[] = ['a', 'b'].map((name) =>
  send('blockdev-add', { driver: 'file', 'node-name': name, filename: `$D/${name}.img` }),
);
const status = (value: string): readonly [string, object] => [
  'JOB_STATUS_CHANGE',
  { id: 'm0', status: value },
];
const start = (given: object, until?: Step['until']): Step => ({
  send: [
    'blockdev-mirror',
    { 'job-id': 'm0', device: 'a', target: 'b', sync: 'full', granularity: MIB, ...given },
  ],
  ...(until && { until }),
});
const ready: Step['until'] = ['BLOCK_JOB_READY', { device: 'm0' }];
const verb = (command: string, until?: Step['until']): Step => ({
  send: [command, byName(command, 'm0')],
  ...(until && { until }),
});

/** What the command calls the job. */
function byName(command: string, id: string): object {
  return /^block-job-(?:pause|resume|complete|cancel)$/.test(command) ? { device: id } : { id };
}

const refusals = (commands: readonly string[]): Step[] => commands.map((name) => verb(name));
const SETTLED = ['job-pause', 'job-resume', 'job-complete', 'block-job-pause', 'block-job-resume'];
const speed = send('block-job-set-speed', { device: 'm0', speed: 5 });
const late = ['job-finalize', 'job-dismiss', 'block-job-finalize', 'block-job-dismiss'];
const complete = ['job-complete', 'block-job-complete'];

describeQsds('the verbs of a job, as in qemu-storage-daemon,', [], (program) => {
  it('while it runs and while it is paused', async () => {
    await expectSameConversation(program, [
      ...nodes,
      // So slow that it is never READY: one granule is copied, and that is all.
      start({ granularity: 4096, 'buf-size': 4096, speed: 1 }),
      ...refusals([...late, ...complete, 'job-resume', 'block-job-resume']),
      {
        send: ['query-block-jobs'],
        again: (jobs) => !JSON.stringify(jobs).includes('"offset":4096'),
      },
      verb('block-job-pause', status('paused')),
      ...refusals([...late, ...complete, 'job-pause', 'block-job-pause', 'block-job-cancel']),
      verb('job-cancel', status('null')),
      ...refusals([...late, ...complete, 'job-pause', 'block-job-cancel', 'job-cancel']),
      speed,
    ]);
  });

  it('when it is ready and in standby', async () => {
    await expectSameConversation(program, [
      ...nodes,
      start({}, ready),
      ...refusals([...late, 'job-resume', 'block-job-resume']),
      verb('job-pause', status('standby')),
      ...refusals([...late, 'job-pause', 'block-job-pause', 'block-job-cancel']),
      verb('job-resume'),
      { send: ['block-job-cancel', { device: 'm0', force: true }], until: status('null') },
    ]);
  });

  it('when it is pending and when it has concluded', async () => {
    await expectSameConversation(program, [
      ...nodes,
      start({ 'auto-finalize': false, 'auto-dismiss': false }, ready),
      verb('block-job-complete', ['BLOCK_JOB_PENDING', { id: 'm0' }]),
      ...refusals([...SETTLED, ...complete, 'job-dismiss', 'block-job-dismiss']),
      speed,
      verb('block-job-finalize', status('concluded')),
      ...refusals([...SETTLED, ...complete, 'job-finalize', 'job-cancel', 'block-job-cancel']),
      speed,
      start({}),
      verb('job-dismiss', status('null')),
    ]);
  });
});

describeQsds('the end of a job, as in qemu-storage-daemon,', [], (program) => {
  it.each([
    ['block-job-cancel', { force: true }],
    ['block-job-cancel', {}],
    ['job-cancel', undefined],
  ])('by %s %j in pending', async (command, more) => {
    await expectSameConversation(program, [
      ...nodes,
      start({ 'auto-finalize': false }, ready),
      verb('job-complete', ['BLOCK_JOB_PENDING', { id: 'm0' }]),
      { send: [command, { ...byName(command, 'm0'), ...more }], until: status('null') },
      send('query-jobs'),
    ]);
  });

  it('by a soft cancel with nothing automatic', async () => {
    await expectSameConversation(program, [
      ...nodes,
      start({ 'auto-finalize': false, 'auto-dismiss': false }, ready),
      verb('block-job-cancel', ['BLOCK_JOB_PENDING', { id: 'm0' }]),
      verb('job-finalize', status('concluded')),
      send('query-jobs'),
      verb('job-dismiss', status('null')),
    ]);
  });

  it('by targets of another size', async () => {
    await expectSameConversation(program, [
      ...nodes,
      send('blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'b', size: 65536 }),
      { ...start({ target: 'r', 'auto-dismiss': false }, status('concluded')) },
      send('query-jobs'),
      verb('job-dismiss', status('null')),
    ]);
  });

  it('by a target that is read-only, before it begins', async () => {
    await expectSameConversation(
      program,
      [
        nodes[0]!,
        send('blockdev-add', {
          driver: 'file',
          'node-name': 'b',
          filename: '$D/b.img',
          'read-only': true,
        }),
        start({}),
      ],
      { events: { row: 'job-that-never-was', ours: [] } },
    );
  });
});

/** Which node it is that fails, by its name for the job, and in what it fails. */
const SIDES = {
  target: { member: 'target', calls: ['pwrite', 'zero'] },
  source: { member: 'device', calls: ['pread'] },
} as const;

describeQsds('as in qemu-storage-daemon, an error', ['nbdkit'], (program) => {
  describe.each(Object.keys(SIDES) as (keyof typeof SIDES)[])('of the %s:', (side) => {
    const { member, calls } = SIDES[side];
    /** A server in each side's directory that fails while the file `broken` is there. */
    const serve = (error: string) => async (directory: string) => {
      const socket = join(directory, 'target');
      const broken = join(directory, 'broken');
      await writeFile(broken, '');
      const faulty = calls.flatMap((call) => [`error-${call}=${error}`, `error-${call}-rate=100%`]);
      await startProcess(
        'nbdkit',
        [
          ...['-f', '-U', socket, '--filter=error', 'data', `0x5a*${MIB}`],
          ...[...faulty, `error-file=${broken}`],
        ],
        { readySocket: socket },
      );
    };
    const repair = (directory: string) => rm(join(directory, 'broken'));
    const target = send('blockdev-add', {
      driver: 'nbd',
      'node-name': 't',
      server: { type: 'unix', path: '$D/target' },
    });
    const errs = (policy: string, until: Step['until']) =>
      start({ [member]: 't', [`on-${side}-error`]: policy, 'auto-dismiss': false }, until);

    it.each(['report', 'enospc', 'auto'])('%s ends it', async (policy) => {
      await expectSameConversation(
        program,
        [
          ...nodes,
          target,
          errs(policy, status('concluded')),
          send('query-jobs'),
          verb('job-dismiss', status('null')),
        ],
        { prepare: serve('EIO') },
      );
    });

    it.each([
      ['stop', 'EIO'],
      ['enospc', 'ENOSPC'],
      ['auto', 'ENOSPC'],
    ])('%s stops it at %s, and it can be resumed', async (policy, error) => {
      await expectSameConversation(
        program,
        [
          ...nodes,
          target,
          errs(policy, status('paused')),
          send('query-jobs'),
          { ...verb('job-resume', ready), repaired: true },
          verb('job-complete', status('concluded')),
          verb('job-dismiss', status('null')),
        ],
        { prepare: serve(error), repair },
      );
    });

    it('stop: a forced cancel ends it', async () => {
      await expectSameConversation(
        program,
        [
          ...nodes,
          target,
          errs('stop', status('paused')),
          verb('block-job-cancel'),
          { send: ['block-job-cancel', { device: 'm0', force: true }], until: status('concluded') },
        ],
        { prepare: serve('EIO'), collapse: true },
      );
    });

    it('ignore goes on until it works', async () => {
      await expectSameConversation(
        program,
        [
          ...nodes,
          target,
          errs('ignore', ['BLOCK_JOB_ERROR', { device: 'm0' }]),
          { ...send('query-version', { x: 1 }), repaired: true },
          { ...send('query-version', { x: 1 }), until: ready },
          verb('job-complete', status('concluded')),
        ],
        { prepare: serve('EIO'), repair, collapse: true },
      );
    });
  });
});
