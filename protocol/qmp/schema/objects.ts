import type { CommandDefinition, Definitions } from '../definition.ts';

/** Objects beside the nodes: what several of them share. */
export const OBJECT_TYPES = {
  ObjectType: { enum: ['iothread', 'throttle-group'] },
  ThrottleLimits: {
    struct: {
      '*iops-total': 'int',
      '*iops-total-max': 'int',
      '*iops-total-max-length': 'int',
      '*iops-read': 'int',
      '*iops-read-max': 'int',
      '*iops-read-max-length': 'int',
      '*iops-write': 'int',
      '*iops-write-max': 'int',
      '*iops-write-max-length': 'int',
      '*bps-total': 'int',
      '*bps-total-max': 'int',
      '*bps-total-max-length': 'int',
      '*bps-read': 'int',
      '*bps-read-max': 'int',
      '*bps-read-max-length': 'int',
      '*bps-write': 'int',
      '*bps-write-max': 'int',
      '*bps-write-max-length': 'int',
      '*iops-size': 'int',
    },
  },
  ObjectOptions: {
    base: { 'qom-type': 'ObjectType', id: 'str' },
    discriminator: 'qom-type',
    branches: {
      /** Accepted and unused: one event loop does all the work. */
      iothread: {
        '*aio-max-batch': 'int',
        '*thread-pool-min': 'int',
        '*thread-pool-max': 'int',
        '*poll-max-ns': 'int',
        '*poll-grow': 'int',
        '*poll-shrink': 'int',
      },
      'throttle-group': {
        '*limits': 'ThrottleLimits',
        '*x-iops-total': 'int',
        '*x-iops-total-max': 'int',
        '*x-iops-total-max-length': 'int',
        '*x-iops-read': 'int',
        '*x-iops-read-max': 'int',
        '*x-iops-read-max-length': 'int',
        '*x-iops-write': 'int',
        '*x-iops-write-max': 'int',
        '*x-iops-write-max-length': 'int',
        '*x-bps-total': 'int',
        '*x-bps-total-max': 'int',
        '*x-bps-total-max-length': 'int',
        '*x-bps-read': 'int',
        '*x-bps-read-max': 'int',
        '*x-bps-read-max-length': 'int',
        '*x-bps-write': 'int',
        '*x-bps-write-max': 'int',
        '*x-bps-write-max-length': 'int',
        '*x-iops-size': 'int',
      },
    },
  },
} as const satisfies Definitions;

export const OBJECT_COMMANDS = {
  'object-add': { arguments: 'ObjectOptions' },
  'object-del': { arguments: { id: 'str' } },
} as const satisfies Record<string, CommandDefinition>;
