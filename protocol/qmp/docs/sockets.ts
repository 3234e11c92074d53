import type { Docs } from './language.ts';

const HOST = 'A name or a numerical address.';
const PORT = 'A number, as text.';
const TO = {
  about: 'A listener takes the first free port from `port` up to here.',
  default: 'that port alone',
} as const;
const PATH = 'Where the socket is in the file system.';

export const SOCKET_DOCS = {
  title: 'Addresses',
  about: 'New commands take them flat, old ones nested in `data`.',
  types: {
    SocketAddressType: {
      about: 'Where a socket is.',
      members: { inet: 'TCP.', unix: 'A path in the file system.' },
    },
    InetSocketAddress: { about: 'TCP.', members: { host: HOST, port: PORT, to: TO } },
    UnixSocketAddress: { about: 'A path in the file system.', members: { path: PATH } },
    SocketAddress: {
      about: 'The flat form: `{"type": "inet", "host": "127.0.0.1", "port": "10809"}`.',
      members: { type: 'Which members follow.', host: HOST, port: PORT, to: TO, path: PATH },
    },
    SocketAddressLegacy: {
      about: 'The nested form: `{"type": "unix", "data": {"path": "/run/nbd.sock"}}`.',
      members: { type: 'What `data` is.', data: 'The address itself.' },
    },
  },
} as const satisfies Docs;
