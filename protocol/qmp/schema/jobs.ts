import type { CommandDefinition, Definitions, EventDefinition } from '../definition.ts';

/** Jobs: starting a mirror, steering any job, watching it. */
const BY_ID = { id: 'str' } as const;
const BY_DEVICE = { device: 'str' } as const;
const PROGRESS = {
  type: 'JobType',
  device: 'str',
  len: 'int',
  offset: 'int',
  speed: 'int',
} as const;

export const JOB_TYPES = {
  JobType: { enum: ['mirror'] },
  JobStatus: {
    enum: [
      'undefined',
      'created',
      'running',
      'paused',
      'ready',
      'standby',
      'waiting',
      'pending',
      'aborting',
      'concluded',
      'null',
    ],
  },
  /** `incremental` and `bitmap` are other jobs' modes: known, and refused. */
  MirrorSyncMode: { enum: ['top', 'full', 'none', 'incremental', 'bitmap'] },
  NewImageMode: { enum: ['existing', 'absolute-paths'] },
  MirrorCopyMode: { enum: ['background', 'write-blocking'] },
  BlockdevOnError: { enum: ['report', 'ignore', 'enospc', 'stop', 'auto'] },
  BlockErrorAction: { enum: ['ignore', 'report', 'stop'] },
  IoOperationType: { enum: ['read', 'write'] },
  MirrorSide: { enum: ['source', 'target'] },
  JobInfo: {
    struct: {
      id: 'str',
      type: 'JobType',
      status: 'JobStatus',
      'current-progress': 'int',
      'total-progress': 'int',
      '*error': 'str',
    },
  },
  BlockJobInfo: {
    base: {
      type: 'JobType',
      device: 'str',
      len: 'int',
      offset: 'int',
      busy: 'bool',
      paused: 'bool',
      speed: 'int',
      'io-status': 'BlockDeviceIoStatus',
      ready: 'bool',
      status: 'JobStatus',
      'auto-finalize': 'bool',
      'auto-dismiss': 'bool',
      '*error': 'str',
    },
    discriminator: 'type',
    branches: {
      mirror: {
        'actively-synced': 'bool',
        'x-copy-mode': 'MirrorCopyMode',
        'x-dirty-bytes': 'int',
        'x-copied-bytes': 'int',
        'x-copy-rate': 'int',
      },
    },
  },
  BlockJobChangeOptions: {
    base: { id: 'str', type: 'JobType' },
    discriminator: 'type',
    branches: { mirror: { 'copy-mode': 'MirrorCopyMode' } },
  },
} as const satisfies Definitions;

export const JOB_COMMANDS = {
  'blockdev-mirror': {
    arguments: {
      '*job-id': 'str',
      device: 'str',
      target: 'str',
      '*replaces': 'str',
      sync: 'MirrorSyncMode',
      '*bitmap': { type: 'str', features: ['unstable'] },
      '*speed': 'int',
      '*granularity': 'uint32',
      '*buf-size': 'int',
      '*on-source-error': 'BlockdevOnError',
      '*on-target-error': 'BlockdevOnError',
      '*filter-node-name': 'str',
      '*copy-mode': 'MirrorCopyMode',
      '*auto-finalize': 'bool',
      '*auto-dismiss': 'bool',
      '*target-is-zero': 'bool',
      '*x-target-cluster-size': 'uint32',
    },
  },
  'drive-mirror': {
    arguments: {
      '*job-id': 'str',
      device: 'str',
      target: 'str',
      '*format': 'str',
      '*node-name': 'str',
      '*replaces': 'str',
      sync: 'MirrorSyncMode',
      '*mode': 'NewImageMode',
      '*bitmap': { type: 'str', features: ['unstable'] },
      '*speed': 'int',
      '*granularity': 'uint32',
      '*buf-size': 'int',
      '*on-source-error': 'BlockdevOnError',
      '*on-target-error': 'BlockdevOnError',
      '*unmap': 'bool',
      '*copy-mode': 'MirrorCopyMode',
      '*auto-finalize': 'bool',
      '*auto-dismiss': 'bool',
      '*x-target-cluster-size': 'uint32',
    },
  },
  'job-pause': { arguments: BY_ID },
  'job-resume': { arguments: BY_ID },
  'job-complete': { arguments: BY_ID },
  'job-cancel': { arguments: BY_ID },
  'job-finalize': { arguments: BY_ID },
  'job-dismiss': { arguments: BY_ID },
  'query-jobs': { returns: ['JobInfo'] },
  'block-job-pause': { arguments: BY_DEVICE, features: ['deprecated'] },
  'block-job-resume': { arguments: BY_DEVICE, features: ['deprecated'] },
  'block-job-complete': { arguments: BY_DEVICE, features: ['deprecated'] },
  'block-job-finalize': { arguments: BY_ID, features: ['deprecated'] },
  'block-job-dismiss': { arguments: BY_ID, features: ['deprecated'] },
  'block-job-cancel': { arguments: { device: 'str', '*force': 'bool' } },
  'block-job-set-speed': { arguments: { device: 'str', speed: 'int' } },
  'block-job-change': { arguments: 'BlockJobChangeOptions' },
  'query-block-jobs': { returns: ['BlockJobInfo'] },
} as const satisfies Record<string, CommandDefinition>;

export const JOB_EVENTS = {
  JOB_STATUS_CHANGE: { data: { id: 'str', status: 'JobStatus' } },
  BLOCK_JOB_READY: { data: PROGRESS },
  BLOCK_JOB_COMPLETED: { data: { ...PROGRESS, '*error': 'str' } },
  BLOCK_JOB_CANCELLED: { data: PROGRESS },
  BLOCK_JOB_PENDING: { data: { type: 'JobType', id: 'str' } },
  BLOCK_JOB_ERROR: {
    data: {
      device: 'str',
      operation: 'IoOperationType',
      action: 'BlockErrorAction',
      'x-side': 'MirrorSide',
      'x-errno': 'str',
      'x-reason': 'str',
      '*x-offset': 'int',
      '*x-length': 'int',
    },
  },
} as const satisfies Record<string, EventDefinition>;
