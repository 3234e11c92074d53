import type { Docs, MemberDocs } from './language.ts';

/** What each limit means; a throttle group takes them in `limits`, and singly with `x-`. */
const LIMITS: { readonly [name: string]: MemberDocs } = Object.fromEntries([
  ...['iops', 'bps'].flatMap((unit) =>
    [
      ['total', 'reads and writes together'],
      ['read', 'reads'],
      ['write', 'writes, zeroes and trims'],
    ].flatMap(([direction, whose]) => {
      const name = `${unit}-${direction}`;
      const what = unit === 'iops' ? 'Requests' : 'Bytes';
      return [
        [name, { about: `${what} a second for ${whose}.`, default: '0, which is no limit' }],
        [
          `${name}-max`,
          {
            about: `${what} a second in a burst of ${whose}.`,
            default: '0: a tenth of a second of the limit may come at once',
          },
        ],
        [`${name}-max-length`, { about: 'How many seconds a burst may last.', default: '1' }],
      ] as const;
    }),
  ),
  [
    'iops-size',
    {
      about: 'A longer request counts as several, one for each so many bytes.',
      default: '0: every request counts as one',
    },
  ],
]);
const SINGLY = Object.fromEntries(
  Object.keys(LIMITS).map((name) => [
    `x-${name}`,
    { about: `The same as \`${name}\` in \`limits\`.`, default: 'what `limits` says' },
  ]),
);
const UNUSED = { about: 'Checked and unused.', default: 'nothing' } as const;
const TOTAL_AND_PARTS =
  'bps/iops/max total values and read/write values cannot be used at the same time';

export const OBJECT_DOCS = {
  title: 'Objects',
  about:
    'Throttle groups: allowances of requests and bytes that `throttle` nodes share. Nodes of a ' +
    'group are served in turn, and so are reads and writes.',
  commands: {
    'object-add': {
      about: 'Makes an object.',
      errors: {
        "Parameter 'id' expects an identifier":
          'an id is a letter, then letters, digits, `-`, `.` and `_`',
        "attempt to add duplicate property 'tg' to object (type 'container')": 'the id is taken',
        'poll-max-ns value must be in range [0, 9223372036854775807]':
          'so are others of an iothread',
        'bad thread-pool-min/thread-pool-max values':
          'they contradict each other, or are too large',
        'Property values cannot be negative': 'an `x-` limit is',
        [TOTAL_AND_PARTS]: 'a limit for both, and one for reads or writes',
        'bps/iops/max values must be within [0, 1000000000000000]': 'a limit is not',
        'iops-total-max-length value must be in the range [0, 4294967295]':
          'the length of a burst is not',
        'iops size requires an iops value to be set': '`iops-size` without a limit of requests',
        'the burst length cannot be 0': 'it is',
        'burst length set without burst rate': 'a `-max-length` above 1 needs its `-max`',
        'burst length too high for this burst rate': 'their product is beyond 10^15',
        'bps_max/iops_max require corresponding bps/iops values': 'a `-max` without its limit',
        'bps_max/iops_max cannot be lower than bps/iops': 'a `-max` below its limit',
      },
    },
    'object-del': {
      about: 'Removes an object that nothing uses.',
      members: { id: 'Which.' },
      errors: {
        "object 'tg' not found": 'there is no such object',
        "object 'tg' is in use, can not be deleted": 'a node is in the group',
      },
    },
  },
  types: {
    ObjectType: {
      about: 'What an object is.',
      members: {
        iothread: 'Accepted for command lines that have one; one event loop does all the work.',
        'throttle-group': 'An allowance.',
      },
    },
    ThrottleLimits: { about: 'What a throttle group allows.', members: LIMITS },
    ObjectOptions: {
      about: 'How an object is made.',
      members: {
        'qom-type': 'What it is.',
        id: 'Its name.',
        'aio-max-batch': UNUSED,
        'thread-pool-min': UNUSED,
        'thread-pool-max': UNUSED,
        'poll-max-ns': UNUSED,
        'poll-grow': UNUSED,
        'poll-shrink': UNUSED,
        limits: { about: 'What the group allows.', default: 'everything' },
        ...SINGLY,
      },
    },
  },
} as const satisfies Docs;
