/**
 * What we do otherwise than QEMU, on purpose, in one place: the test that sends the same scripts
 * to both names these rows where answers differ, and docs/qmp-reference.md shows them.
 */
export interface Difference {
  readonly what: string;
  readonly qemu: string;
  readonly ours: string;
  readonly why: string;
  /**
   * The test that shows our side: its file and (part of) its title. Without it the row is one of
   * the differential test's.
   */
  readonly shownBy?: readonly [file: string, title: string];
}

const MODES = 'test/unit/job/mirror-modes.test.ts';
const STORM = 'test/unit/job/mirror-storm.test.ts';
const ERRORS = 'test/unit/job/mirror-errors.test.ts';
const MONITOR = 'test/unit/monitor/mirror.test.ts';
const COMMAND_LINE = 'test/unit/daemon/qsd-options.test.ts';
const INTROSPECTION = 'test/interop/qmp-introspection.test.ts';

export const DIFFERENCES = {
  integers: {
    what: 'integers beyond 2^53',
    qemu: 'exact up to 2^63',
    ours: 'refused: `expected: integer`',
    why: 'A number that cannot be held exactly is better refused than rounded.',
  },
  'whole-numbers': {
    what: 'integers that are written as `65536.0` or `1e3`',
    qemu: 'are refused',
    ours: 'are integers',
    why: 'JSON has one kind of number, and there are programs that write all of them so.',
  },
  noncharacters: {
    what: 'U+FFFE, U+FFFF and other code points that are no characters, in strings',
    qemu: 'are not valid UTF-8',
    ours: 'are taken',
    why: 'Unicode allows them where somebody wants to exchange them.',
  },
  'file-sentences': {
    what: 'errors of `blockdev-add` about a file',
    qemu: "`Could not open '/x': ...`, from the system call",
    ours: '`Could not open "/x": it is a directory, ...`',
    why: 'The sentence says what the file is, and names are in double quotes.',
  },
  'working-bitmap': {
    what: '`bitmap` of a mirror',
    qemu: 'does not exist: the series of 2024 was not merged',
    ours: 'as that series has it',
    why: 'A mirror can go on from what a bitmap knows. It is shown as unstable.',
  },
  'x-names': {
    what: 'names that begin with `x-`',
    qemu: 'does not have ours',
    ours:
      'figures of a mirror and of an export, the size of clusters behind a target, why a server ' +
      'cannot be reached, what an error was about, nodes in memory',
    why: 'QMP leaves such names to whoever needs more.',
  },
  'younger-members': {
    what: 'what came with QEMU 10.1',
    qemu: '10.0, the newest that the test may find, does not have it',
    ours: '`target-is-zero`; `children` of nodes; `block-job-pause`, `-resume`, … are deprecated',
    why: 'The language is that of 10.1.',
  },
  'whole-qemu': {
    what: 'commands of the whole QEMU',
    qemu: 'qemu-storage-daemon does not have them',
    ours: '`yank`, `query-yank`',
    why: 'A server that hangs must not hold us for ever.',
  },
  'schema-of-the-schema': {
    what: 'what `query-qmp-schema` says of its own answer',
    qemu: 'the types of its parts',
    ours: 'any value',
    why: 'A program that reads the answer knows its shape before it asks.',
  },
  'job-types': {
    what: 'kinds of jobs and nodes',
    qemu: 'commit, stream, backup; image formats and their backing files',
    ours: 'mirror; raw disks',
    why: 'What is not there is refused as a value that is not known.',
  },
  'absent-commands': {
    what: 'commands for what is not here',
    qemu: 'images that are created, chained, backed up; character devices and objects at run time',
    ours: '`CommandNotFound`',
    why:
      'Disks are raw, monitors are there from the start. What an export or a mirror has done is ' +
      'in `query-block-exports` and `query-block-jobs`.',
    shownBy: [INTROSPECTION, 'has every command of qemu-storage-daemon but those with a reason'],
  },
  'absent-options': {
    what: 'options of files, sockets and exports',
    qemu:
      '`locking`, `force-share`, `drop-cache`, `pr-manager`, `aio-max-batch`, `active`; `ipv4`, ' +
      '`ipv6`, `numeric`, `keep-alive`, `mptcp`, `abstract`, `tight`, sockets of type `fd` and ' +
      '`vsock`; `tls-authz`, `allow-inactive`; exports for FUSE, vhost-user and VDUSE',
    ours: 'are refused as not expected',
    why:
      'Files are always locked, idle connections are always looked after. An option that was ' +
      'passed over would promise what nobody keeps.',
    shownBy: [INTROSPECTION, 'takes every argument of a command that both have'],
  },
  'absent-members': {
    what: 'members of answers',
    qemu:
      "what images, their backing files and guests' devices have; `format-specific` of a file, " +
      'which says the extent size hint of XFS',
    ours: 'are absent',
    why: 'Disks are raw, and there is no guest.',
    shownBy: [INTROSPECTION, 'shows every member of an answer that both have'],
  },
  'command-line': {
    what: 'options of the command line (`nbd-mirror daemon`)',
    qemu:
      '`--daemonize`, `--trace`; character devices that are no listening sockets, as `stdio`; ' +
      '`server` and `nowait` without a value, which are deprecated; `pretty=on`, which indents ' +
      'messages',
    ours: 'are refused with a sentence; `pretty` is taken, and messages stay on one line',
    why:
      'A service manager starts daemons, and clients come by sockets. Blanks mean nothing in ' +
      'JSON, and there are clients that read a message a line.',
    shownBy: [COMMAND_LINE, 'refuses %j'],
  },
  'writers-below': {
    what: 'a mirror of a node, and somebody who writes to the same bytes below it',
    qemu: 'runs, and misses what is written there',
    ours: 'is refused, and so is such a writer while one runs',
    why: 'Those writes do not pass the mirror, and the copy would silently differ.',
    shownBy: [
      'test/unit/monitor/mirror-chains.test.ts',
      'is refused where somebody writes below its source',
    ],
  },
  'exact-sizes': {
    what: 'a file whose size is no multiple of 512',
    qemu: 'is a disk as long as the next multiple',
    ours: "is a disk of its size, which is another one than that of QEMU's export of a copy",
    why: 'What is beyond the end of a file is no part of it.',
  },
  'one-node-a-file': {
    what: 'a second node that may write to a file',
    qemu: 'is taken, if one process has both',
    ours: 'is refused, as by another process',
    why: 'What is written through one passes the bitmaps and mirrors of the other.',
  },
  'children-that-stay': {
    what: 'a node that was opened with its parent under a name, and is used when that goes',
    qemu: 'goes with its last user',
    ours: 'is from then on like one of `blockdev-add`',
    why: 'A disk that somebody has named is not closed unasked.',
  },
  'readers-of-a-target': {
    what: 'a read-only export of the target of a mirror',
    qemu: 'is refused',
    ours: 'shows what is there so far',
    why: 'A reader changes nothing.',
  },
  'read-only-source': {
    what: 'the target when a mirror of a read-only node was completed',
    qemu: 'is read-only from then on',
    ours: 'can be written to as before',
    why: 'Who added it has said what it is; `blockdev-reopen` can change that.',
  },
  'paused-in-pending': {
    what: '`paused` of a job that waits for `job-finalize`',
    qemu: 'is true: it holds all requests back',
    ours: 'is false',
    why: 'Nobody has paused it, and clients go on.',
  },
  'job-that-never-was': {
    what: 'a mirror that is refused for a target that cannot be written to, or a `speed` below 0',
    qemu: 'tells of a job (`created`, `null`), then refuses',
    ours: 'refuses',
    why: 'A refusal changes nothing; there was no job to tell of.',
  },
  'internal-pauses': {
    what:
      'events when all requests are held back for a moment (`transaction`, `quit`; in QEMU 10 ' +
      'also where a node or an export comes or goes)',
    qemu: 'jobs tell that they are `paused` and `running`, or `standby` and `ready` again',
    ours: 'jobs go on; nothing is told',
    why: 'A pause that nobody asked for and that is over when it is told helps nobody.',
  },
  'parallel-writes': {
    what: 'a client write in write-blocking mode',
    qemu: 'goes to the source, then to the target',
    ours: 'goes to both at the same time',
    why: 'The client waits for the slower side, not for the sum.',
    shownBy: [MODES, 'is on its way to the target before this thread writes to the source'],
  },
  trim: {
    what: "a client's trim while a mirror runs",
    qemu: 'is dropped at the filter',
    ours: 'passes it; the target then gets what the source reads as',
    why: 'Space comes back as it does without a mirror.',
    shownBy: ['test/iotests/132-discard.test.ts', 'after READY'],
  },
  'trim-of-nothing': {
    what: 'a trim that a node lets pass, and one below, or its server, does not take',
    qemu: 'marks the bitmaps of the node',
    ours: 'marks none',
    why: 'Nothing has changed, so there is nothing to copy.',
    shownBy: ['test/interop/space.test.ts', 'marks no trim that a node below does not take'],
  },
  'reopened-discard': {
    what: '`discard` that is left out in `blockdev-reopen`',
    qemu: 'stays as it was',
    ours: 'is `ignore` then',
    why: 'Whatever is left out gets its default, as QEMU says itself.',
    shownBy: ['test/interop/space.test.ts', 'resets what a reopening leaves out'],
  },
  'parts-of-granules': {
    what: 'what a small write sends',
    qemu: 'its whole granule',
    ours: 'the 4 KiB parts that were written; below a low speed limit likewise',
    why:
      'Less on the link. `count`, `len` and `offset` still speak in granules: `offset` moves ' +
      'when a granule is whole.',
    shownBy: [MODES, 'sends 4 KiB for a 4 KiB write in background mode'],
  },
  'empty-on-both-sides': {
    what: 'a full mirror where source and target read as zeroes',
    qemu: 'zeroes the target; `len` is all of the disk',
    ours: 'does nothing; `len` is what one of the two has as data',
    why: 'A sparse disk takes as long as what is in it, and so says its progress.',
    shownBy: [MODES, 'does nothing where both are zero, though the target has data elsewhere'],
  },
  convergence: {
    what: 'the way to the end under load',
    qemu: 'copies until it is lucky',
    ours: 'copies client writes synchronously in the last second before READY, and at the end',
    why: 'The end is always reached.',
    shownBy: [STORM, 'pivots under load without losing a write'],
  },
  'target-flush': {
    what: "a client's flush and FUA in write-blocking mode",
    qemu: 'reach the source alone',
    ours: 'reach the target too; what a failed flush may have lost is copied again',
    why: 'What the client was promised holds on both sides.',
    shownBy: [ERRORS, 'passes a flush to the target, and copies again what a failed one may have'],
  },
  'lost-target': {
    what: 'a target that is back after its server went away',
    qemu: 'is taken to have all that it answered',
    ours: 'gets again what it had answered and not flushed',
    why: 'A server that crashed may have lost it.',
    shownBy: [ERRORS, 'gets everything once more that it had answered and not flushed'],
  },
  'failed-source-write': {
    what: 'a client write that fails on the source in write-blocking mode',
    qemu: 'leaves nothing dirty',
    ours: 'is marked',
    why: 'Nobody knows what is on the source then.',
    shownBy: [ERRORS, 'that fails on the source is told to the client and marked'],
  },
  'broken-run': {
    what: 'a working bitmap after a run of copies broke off',
    qemu: 'may have lost what had not been sent yet',
    ours: 'holds everything that is not on the target',
    why: 'It is what the next mirror starts from.',
    shownBy: [ERRORS, 'holds everything that is not on the target, also the rest of a broken run'],
  },
  'one-report': {
    what: 'copies that fail together with the policy `report`',
    qemu: 'an event for each',
    ours: 'one event',
    why: 'The first one ends the job: nothing follows from the others.',
    shownBy: [
      'test/unit/job/mirror-late-errors.test.ts',
      'report: copies that fail together are told of once',
    ],
  },
  'ignore-backs-off': {
    what: 'the policy `ignore`',
    qemu: 'tries again at once, an event each time',
    ours: 'waits 10 ms, then twice as long each time, up to 5 s',
    why: 'An error that stays must not fill the log and the processor.',
    shownBy: [ERRORS, 'ignore: does not spin on an error that stays'],
  },
  'several-mirrors': {
    what: 'a second mirror of one source',
    qemu: 'is refused',
    ours: 'runs; the youngest sits lowest and is ended first',
    why: 'One disk can be copied to several places.',
    shownBy: [MONITOR, 'runs several times on one source'],
  },
} as const satisfies Record<string, Difference>;

export type DifferenceKey = keyof typeof DIFFERENCES;
