import { expect, it } from 'vitest';
import { statusText } from '../../../src/cli/status.ts';

/** What an operator reads first when he is woken up. */
type Status = Parameters<typeof statusText>[0];

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
  const troubled = { ...job, error: 'e', 'io-status': 'nospace', 'x-warnings': ['w'] };
  expect(
    text({ jobs: [troubled], nodes })
      .split('\n')
      .slice(1),
  ).toEqual([
    '  failed: e',
    '  stopped by an error (nospace): block-job-resume tries again',
    '  target not connected: connect ECONNREFUSED',
    '  warning: w',
    '',
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
