import type { Definitions } from '../definition.ts';

/** Addresses, in the flat form of new commands and the nested one of old commands. */
export const SOCKET_TYPES = {
  SocketAddressType: { enum: ['inet', 'unix'] },
  InetSocketAddress: { struct: { host: 'str', port: 'str', '*to': 'uint16' } },
  UnixSocketAddress: { struct: { path: 'str' } },
  SocketAddress: {
    base: { type: 'SocketAddressType' },
    discriminator: 'type',
    branches: { inet: { host: 'str', port: 'str', '*to': 'uint16' }, unix: { path: 'str' } },
  },
  SocketAddressLegacy: {
    base: { type: 'SocketAddressType' },
    discriminator: 'type',
    branches: { inet: { data: 'InetSocketAddress' }, unix: { data: 'UnixSocketAddress' } },
  },
} as const satisfies Definitions;
