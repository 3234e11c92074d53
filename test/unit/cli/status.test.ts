import { expect, it } from 'vitest';
import { holds, type Status, statusText } from '../../../src/cli/status.ts';

/** What an operator reads first when he is woken up. */

const item = {
  id: 'e0',
  'node-name': 'top',
  'shutting-down': false,
  'x-clients': ['127.0.0.1:50000'],
  'x-requests': {
    reads: 3,
    'read-bytes': 12288,
    writes: 2,
    'written-bytes': 1 << 20,
    flushes: 1,
    discards: 0,
    errors: 0,
  },
};
const job = {
  type: 'mirror',
  device: 'm0',
  'x-target': 't',
  status: 'ready',
  'x-copy-mode': 'background',
  'actively-synced': false,
  offset: 1 << 20,
  len: 1 << 21,
  'x-dirty-bytes': 65536,
  'io-status': 'ok',
  'x-warnings': [],
};
const target = { 'node-name': 't', file: 'nbd://h:1/d' };
const text = (parts: { exports?: object[]; jobs?: object[]; nodes?: object[] }) =>
  statusText({ exports: [], jobs: [], nodes: [], ...parts } as unknown as Status);

it('has a line for each export and mirror', () => {
  expect(text({})).toBe('nothing is exported\n');
  expect(text({ exports: [item], jobs: [job], nodes: [target] })).toBe(
    'export e0: node top, 1 client, 12.0 KiB in 3 reads, 1.00 MiB in 2 writes\n' +
      'mirror m0 to t (nbd://h:1/d): ready, background, 1.00 MiB of 2.00 MiB, 64.0 KiB dirty\n',
  );
});

it('says how fast a mirror copies, and how long it still takes', () => {
  const moving = { ...job, status: 'running', 'x-copy-rate': 5 << 20, 'x-seconds-left': 700 };
  expect(text({ jobs: [moving] })).toMatch(/, 64\.0 KiB dirty, 5\.00 MiB\/s, about 12m left\n$/);
  expect(text({ jobs: [{ ...job, 'x-copy-rate': 0 }] })).toMatch(/ dirty\n$/);
});

it('says where a disk is, and that it is out of reach', () => {
  const disk = { 'node-name': 'top', file: 'nbd://h:2/d' };
  expect(text({ exports: [item], nodes: [disk] })).toMatch(
    /^export e0: node top \(nbd:.*d\), 1 cl/,
  );
  const lost = { ...disk, 'x-unreachable': 'h:2 has not answered for 24 s' };
  expect(text({ exports: [item], nodes: [lost] }).split('\n')[1]).toBe(
    '  disk out of reach: h:2 has not answered for 24 s',
  );
});

it('holds while every mirror is so, and its target can be reached', () => {
  const what = (parts: { jobs: object[]; nodes?: object[] }) =>
    ({ exports: [], nodes: [], ...parts }) as unknown as Status;
  const ready = { ...job, ready: true, paused: false, 'io-status': 'ok' };
  const lost = { ...target, 'x-unreachable': 'connect ECONNREFUSED' };
  expect(holds('ready', what({ jobs: [] }))).toBe(false);
  expect(holds('ready', what({ jobs: [ready, ready], nodes: [target] }))).toBe(true);
  expect(holds('ready', what({ jobs: [ready, { ...job, ready: false }] }))).toBe(false);
  expect(holds('ready', what({ jobs: [ready], nodes: [lost] }))).toBe(false);
  expect(holds('ready', what({ jobs: [{ ...ready, paused: true }] }))).toBe(false);
  expect(holds('ready', what({ jobs: [{ ...ready, 'io-status': 'nospace' }] }))).toBe(false);
  expect(holds('synced', what({ jobs: [ready] }))).toBe(false);
  expect(holds('synced', what({ jobs: [{ ...ready, 'actively-synced': true }] }))).toBe(true);
  const over = { ...job, status: 'concluded', ready: false, 'actively-synced': true };
  expect(holds('synced', what({ jobs: [over] }))).toBe(false);
  const failed = what({ jobs: [ready, { ...ready, error: 'No space left on device' }] });
  expect(() => holds('ready', failed)).toThrow('m0 has failed: No space left on device');
  const told = { ...ready, error: 'EIO', 'x-reason': 'Cannot write' };
  expect(() => holds('ready', what({ jobs: [told] }))).toThrow('m0 has failed: EIO: Cannot write');
});

it('says what is wrong', () => {
  const requests = { ...item['x-requests'], errors: 7 };
  const leaving = { ...item, 'x-clients': [], 'x-requests': requests, 'shutting-down': true };
  expect(text({ exports: [leaving] })).toMatch(
    /^export e0: node top, 0 clients, .* 2 writes, 7 failed, shutting down\n$/,
  );
  const nodes = [
    { 'node-name': 'other', 'x-unreachable': 'not this one' },
    { ...target, 'x-unreachable': 'connect ECONNREFUSED' },
  ];
  const troubled = {
    ...job,
    error: 'e',
    'x-reason': 'r',
    'io-status': 'nospace',
    'x-warnings': ['w'],
  };
  expect(
    text({ jobs: [troubled], nodes })
      .split('\n')
      .slice(1),
  ).toEqual([
    '  failed: e: r',
    '  stopped by an error (nospace): job-resume id=m0 tries again',
    '  target out of reach: connect ECONNREFUSED',
    '  warning: w',
    '',
  ]);
});

it('says what clients wait for, and what to type', () => {
  const below = (more: object, nodes: object[] = []) =>
    text({ jobs: [{ ...job, ...more }], nodes })
      .split('\n')
      .slice(1, -1);
  const lost = [{ ...target, 'x-unreachable': 'h:1 has not answered for 24 s' }];
  const out = '  target out of reach: h:1 has not answered for 24 s';
  const giveUp = 'job-cancel id=m0 gives the mirror up';
  expect(below({})).toEqual([]);
  expect(below({ status: 'pending' })).toEqual([
    '  client writes wait for job-finalize id=m0, or job-cancel id=m0',
  ]);
  expect(below({ status: 'concluded' })).toEqual(['  it stays until job-dismiss id=m0']);
  expect(below({ status: 'concluded', error: 'e' }, lost)).toEqual([
    '  failed: e',
    '  it stays until job-dismiss id=m0',
    out,
  ]);
  expect(below({}, lost)).toEqual([out, `  the mirror waits for it: ${giveUp}`]);
  expect(below({ 'x-copy-mode': 'write-blocking' }, lost)).toEqual([
    out,
    `  client writes wait for it: ${giveUp}`,
  ]);
});

it('does without what a daemon of before an upgrade does not tell', () => {
  const { 'x-clients': _clients, 'x-requests': _requests, ...old } = item;
  const { 'x-target': _target, ...oldJob } = job;
  expect(text({ exports: [old], jobs: [oldJob], nodes: [target] })).toBe(
    'export e0: node top\n' +
      'mirror m0: ready, background, 1.00 MiB of 2.00 MiB, 64.0 KiB dirty\n',
  );
});

it("does without all that is not QEMU's", () => {
  const entries = Object.entries(job).filter(([key]) => !key.startsWith('x-'));
  expect(text({ jobs: [Object.fromEntries(entries)], nodes: [target] })).toBe(
    'mirror m0: ready, 1.00 MiB of 2.00 MiB\n',
  );
});
