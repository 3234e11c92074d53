import type { CommandDefinition, Definitions } from '../definition.ts';

/** Block nodes: how they are described, made, removed and shown. */
const FILE_OPTIONS = {
  filename: 'str',
  '*aio': 'BlockdevAioOptions',
} as const;

export const BLOCK_TYPES = {
  BlockdevAioOptions: { enum: ['threads', 'native', 'io_uring'] },
  BlockdevDiscardOptions: { enum: ['ignore', 'unmap'] },
  BlockdevDetectZeroesOptions: { enum: ['off', 'on', 'unmap'] },
  BlockdevCacheOptions: { struct: { '*direct': 'bool', '*no-flush': 'bool' } },
  BlockdevDriver: { enum: ['file', 'host_device', 'nbd', 'raw', 'throttle', 'x-memory'] },
  BlockdevOptions: {
    base: {
      driver: 'BlockdevDriver',
      '*node-name': 'str',
      '*discard': 'BlockdevDiscardOptions',
      '*cache': 'BlockdevCacheOptions',
      '*read-only': 'bool',
      '*auto-read-only': 'bool',
      '*detect-zeroes': 'BlockdevDetectZeroesOptions',
    },
    discriminator: 'driver',
    branches: {
      file: FILE_OPTIONS,
      host_device: FILE_OPTIONS,
      nbd: {
        server: 'SocketAddress',
        '*export': 'str',
        '*tls-creds': 'str',
        '*tls-hostname': 'str',
        '*x-dirty-bitmap': 'str',
        '*reconnect-delay': 'uint32',
        '*open-timeout': 'uint32',
      },
      raw: { file: 'BlockdevRef', '*offset': 'int', '*size': 'int' },
      throttle: { 'throttle-group': 'str', file: 'BlockdevRef' },
      'x-memory': { size: 'size' },
    },
  },
  BlockdevRef: { alternate: { string: 'str', object: 'BlockdevOptions' } },
  BlockdevCacheInfo: { struct: { writeback: 'bool', direct: 'bool', 'no-flush': 'bool' } },
  ImageInfo: {
    struct: {
      filename: 'str',
      format: 'str',
      'virtual-size': 'int',
      '*actual-size': 'int',
      '*dirty-flag': 'bool',
    },
  },
  BlockdevChild: { struct: { child: 'str', 'node-name': 'str' } },
  BlockDeviceInfo: {
    struct: {
      file: 'str',
      '*node-name': 'str',
      ro: 'bool',
      drv: 'str',
      backing_file_depth: 'int',
      children: ['BlockdevChild'],
      active: 'bool',
      encrypted: 'bool',
      detect_zeroes: 'BlockdevDetectZeroesOptions',
      bps: 'int',
      bps_rd: 'int',
      bps_wr: 'int',
      iops: 'int',
      iops_rd: 'int',
      iops_wr: 'int',
      image: 'ImageInfo',
      cache: 'BlockdevCacheInfo',
      write_threshold: 'int',
      '*dirty-bitmaps': ['BlockDirtyInfo'],
      '*x-unreachable': 'str',
    },
  },
  BlockDeviceIoStatus: { enum: ['ok', 'failed', 'nospace'] },
  BlockInfo: {
    struct: {
      device: 'str',
      type: 'str',
      removable: 'bool',
      locked: 'bool',
      '*inserted': 'BlockDeviceInfo',
      '*io-status': 'BlockDeviceIoStatus',
    },
  },
} as const satisfies Definitions;

export const BLOCK_COMMANDS = {
  'blockdev-add': { arguments: 'BlockdevOptions' },
  'blockdev-del': { arguments: { 'node-name': 'str' } },
  'blockdev-reopen': { arguments: { options: ['BlockdevOptions'] } },
  block_resize: { arguments: { '*device': 'str', '*node-name': 'str', size: 'int' } },
  'query-named-block-nodes': { arguments: { '*flat': 'bool' }, returns: ['BlockDeviceInfo'] },
  'query-block': { returns: ['BlockInfo'] },
} as const satisfies Record<string, CommandDefinition>;
