import type { Docs } from './language.ts';
import { MIRROR_DOCS } from './mirror.ts';

const ID = 'Id of the job.';
const refused = (verb: string) => {
  // The only one that is for what has ended.
  const state = verb === 'dismiss' ? 'running' : 'concluded';
  const sentence = `Job 'm' in state '${state}' cannot accept command verb '${verb}'`;
  return { [sentence]: 'the state does not allow it' };
};
const jobErrors = (verb: string) => ({
  'Job not found': 'there is no such job',
  ...refused(verb),
});
const blockJobErrors = (verb: string) => ({
  "DeviceNotActive: Block job 'm' not found": 'there is no such job',
  ...refused(verb),
});
const PAUSED = { 'Job is already paused': 'it was paused before' } as const;
const RESUMED = { "Can't resume a job that was not paused": 'nobody paused it' } as const;
const BLIND_MIRROR =
  "Job 'm' cannot be completed yet: the mirror with filter 'f' sits below it and would see no " +
  'more writes; end that one first';
const OTHER_DISK =
  "Job 'm' cannot be completed yet: job 'k' mirrors to its source, and would go on to another " +
  'disk; end that one first';
const COMPLETED = {
  "The active block job 'm' cannot be completed": 'it was cancelled before',
  [BLIND_MIRROR]: 'as it says',
  [OTHER_DISK]: 'as it says',
} as const;
const old = (command: string) => `The old name of \`${command}\`.`;

/** Members that several events and queries share. */
const LEN = 'Bytes done and to be done, as far as is known; it grows while clients write.';
const OFFSET = 'Bytes done; equal to `len` at READY and at a successful end.';
const SPEED = 'Limit in bytes per second; 0 is none.';
const ERROR = 'Why it failed; absent when it did not.';
const PROGRESS = {
  type: 'Kind of the job.',
  device: ID,
  len: LEN,
  offset: OFFSET,
  speed: SPEED,
} as const;

export const JOB_DOCS = {
  title: 'Jobs',
  about:
    'A mirror is a job. It copies what is dirty until nothing is left, says READY, keeps the ' +
    'target up to date, and ends when it is told: `job-complete` moves clients to the target, ' +
    '`block-job-cancel` leaves them where they are and the target as a copy of that instant, ' +
    '`job-cancel` gives up.\n\n' +
    'A job is in one state at a time, and JOB_STATUS_CHANGE tells each: `created`, `running` ' +
    '(`paused`), `ready` (`standby` when paused), `waiting`, `pending`, `concluded`, `null`; ' +
    '`aborting` before `concluded` when it fails or is given up. Pause, resume, set-speed and ' +
    'change are taken up to `standby`, complete in `ready` and `standby`, cancel up to ' +
    '`pending`, finalize in `pending`, dismiss in `concluded`.\n\n' +
    'Commands come in two families with the same effect: `job-*` name the job as `id`, the older ' +
    '`block-job-*` mostly as `device`. They may be mixed.',
  commands: {
    ...MIRROR_DOCS,
    'job-pause': {
      about:
        'Pauses a job when what is in flight has ended. Writes of a write-blocking mirror go on.',
      members: { id: ID },
      errors: { ...jobErrors('pause'), ...PAUSED },
    },
    'job-resume': {
      about: 'Goes on with a job that was paused, or stopped by an error.',
      members: { id: ID },
      errors: { ...jobErrors('resume'), ...RESUMED },
    },
    'job-complete': {
      about:
        'Ends a READY mirror: clients are held for a moment, the last of it is copied, then they ' +
        'go on, on the target.',
      members: { id: ID },
      errors: { ...jobErrors('complete'), ...COMPLETED },
    },
    'job-cancel': {
      about:
        'Gives a job up, whatever its state: BLOCK_JOB_CANCELLED. The target is then no copy of ' +
        'anything. `block-job-cancel` without force is the way to a usable copy.',
      members: { id: ID },
      errors: jobErrors('cancel'),
    },
    'job-finalize': {
      about: 'Goes on with a job that waits in `pending` because of `auto-finalize: false`.',
      members: { id: ID },
      errors: jobErrors('finalize'),
    },
    'job-dismiss': {
      about: 'Forgets a job that waits in `concluded` because of `auto-dismiss: false`.',
      members: { id: ID },
      errors: jobErrors('dismiss'),
    },
    'query-jobs': { about: 'All jobs, the youngest first.' },
    'block-job-pause': {
      about: old('job-pause'),
      members: { device: ID },
      errors: { ...blockJobErrors('pause'), ...PAUSED },
    },
    'block-job-resume': {
      about: old('job-resume'),
      members: { device: ID },
      errors: { ...blockJobErrors('resume'), ...RESUMED },
    },
    'block-job-complete': {
      about: old('job-complete'),
      members: { device: ID },
      errors: { ...blockJobErrors('complete'), ...COMPLETED },
    },
    'block-job-finalize': {
      about: old('job-finalize'),
      members: { id: ID },
      errors: blockJobErrors('finalize'),
    },
    'block-job-dismiss': {
      about: old('job-dismiss'),
      members: { id: ID },
      errors: blockJobErrors('dismiss'),
    },
    'block-job-cancel': {
      about:
        'Ends a mirror without moving clients. READY, and without force, it ends in order: the ' +
        'last of it is copied, BLOCK_JOB_COMPLETED comes, and the target is a copy of that ' +
        'instant. Before READY, and with force, it is given up: BLOCK_JOB_CANCELLED.',
      members: {
        device: ID,
        force: { about: 'Gives it up at once.', default: 'false' },
      },
      errors: {
        ...blockJobErrors('cancel'),
        "The block job for device 'm' is currently paused": 'it is paused, and `force` is false',
      },
    },
    'block-job-set-speed': {
      about: 'Changes the limit of background copies; it holds from now on.',
      members: { device: ID, speed: 'Bytes per second; 0 for no limit.' },
      errors: {
        ...blockJobErrors('set-speed'),
        "Parameter 'speed' expects a non-negative value": 'it is negative',
      },
    },
    'block-job-change': {
      about:
        'Changes what can be changed while a job runs: the copy mode of a mirror, from ' +
        'background to write-blocking. It holds for writes that begin from now on.',
      errors: {
        ...blockJobErrors('change'),
        "Change to copy mode 'background' is not implemented": 'there is no way back',
      },
    },
    'query-block-jobs': { about: 'All mirrors with their figures, the youngest first.' },
  },
  events: {
    JOB_STATUS_CHANGE: {
      about: 'A job has entered a state.',
      members: { id: ID, status: 'The state.' },
    },
    BLOCK_JOB_READY: {
      about: 'The target has all of the source, and has been flushed. It can be completed.',
      members: PROGRESS,
    },
    BLOCK_JOB_COMPLETED: {
      about: 'A job has ended, well, or with an error.',
      members: { ...PROGRESS, error: ERROR },
    },
    BLOCK_JOB_CANCELLED: { about: 'A job was given up.', members: PROGRESS },
    BLOCK_JOB_PENDING: {
      about: 'A job with `auto-finalize: false` waits for `job-finalize`; client writes wait too.',
      members: { type: 'Kind of the job.', id: ID },
    },
    BLOCK_JOB_ERROR: {
      about: 'A job has met an error. What it copied there is dirty again.',
      members: {
        device: ID,
        operation: '`read` for the source, `write` for the target.',
        action: 'What the policy made of it.',
        'x-side': 'Where it was.',
        'x-errno': 'Its number by name, as `EIO`.',
        'x-reason': 'A sentence for people.',
        'x-offset': 'Where the range begins, in bytes; absent when it was no range (a flush).',
        'x-length': 'Length of the range in bytes.',
      },
    },
  },
  types: {
    JobType: { about: 'Kind of a job.', members: { mirror: 'A mirror.' } },
    JobStatus: { about: 'State of a job.' },
    MirrorSyncMode: {
      about: 'What a mirror copies at first.',
      members: {
        full: 'All of the source.',
        top: 'As `full`: no node here has a backing file, and a raw disk is all there.',
        none: 'Nothing: only what is written from now on.',
        incremental: "Another job's mode: refused.",
        bitmap: "Another job's mode: refused.",
      },
    },
    NewImageMode: {
      about: 'Whether the target is there already. An export cannot be created: it always is.',
      members: {
        existing: 'It is there.',
        'absolute-paths': 'It may be created: an export is taken as it is.',
      },
    },
    MirrorCopyMode: {
      about: 'When client writes reach the target.',
      members: {
        background: 'Later: the client waits for the source alone.',
        'write-blocking': 'Before the client is answered; it waits for the slower side.',
      },
    },
    BlockdevOnError: {
      about: 'What an error does to a job. In `pending` it ends the job, whatever was asked for.',
      members: {
        report: 'Ends the job with this error.',
        ignore: 'Tries again later: after 10 ms, then twice as long each time, up to 5 s.',
        enospc: 'As `stop` when there is no space, else as `report`.',
        stop: 'Pauses the job until somebody resumes it.',
        auto: 'As `enospc`.',
      },
    },
    BlockErrorAction: {
      about: 'What was made of an error.',
      members: {
        ignore: 'It will be tried again.',
        report: 'The job ends with it.',
        stop: 'The job is paused.',
      },
    },
    IoOperationType: { about: 'What failed.' },
    MirrorSide: { about: 'The two ends of a mirror.' },
    JobInfo: {
      about: 'A job.',
      members: {
        id: ID,
        type: 'Its kind.',
        status: 'Its state.',
        'current-progress': OFFSET.replace('len', 'total-progress'),
        'total-progress': LEN,
        error: ERROR,
      },
    },
    BlockJobInfo: {
      about: 'A mirror with its figures.',
      members: {
        ...PROGRESS,
        busy: 'Whether it is at work at this moment, as opposed to waiting.',
        paused: 'Whether somebody, or an error, has paused it.',
        'io-status': 'Whether an error has stopped it.',
        ready: 'Whether it is in `ready` or `standby`.',
        status: 'Its state.',
        'auto-finalize': 'Whether it goes on from `pending` by itself.',
        'auto-dismiss': 'Whether it disappears from `concluded` by itself.',
        error: ERROR,
        'actively-synced':
          'Whether target and source are equal, and stay so until an error or the end: ' +
          'write-blocking, and nothing left to copy.',
        'x-target': 'Name of the node that it copies to.',
        'x-copy-mode': 'When client writes reach the target.',
        'x-dirty-bytes':
          'What is not on the target, as far as is known: dirty granules, and copies of them ' +
          'that are on their way.',
        'x-copied-bytes': 'Bytes that were copied in the background.',
        'x-copy-rate': 'Bytes per second of late.',
        'x-seconds-left':
          'How long it takes until nothing is left to copy, if it goes on as of late; absent ' +
          'where that cannot be known: in the first seconds, when clients write as fast as it ' +
          'copies, when it stands still or is paused, and from READY on.',
        'x-warnings':
          'What may go wrong with a working bitmap, in sentences: a target with holes, one that ' +
          'prefers blocks larger than granules, client writes that are copied as they are. They ' +
          'are in the log too. Empty when nothing can be seen coming.',
        'x-reason':
          'What failed, where, and why, in a sentence for people; absent when it did not fail.',
      },
    },
    BlockJobChangeOptions: {
      about: 'What to change.',
      members: {
        id: ID,
        type: 'Kind of the job.',
        'copy-mode': 'The new one.',
      },
    },
  },
} as const satisfies Docs;
