import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { dirname } from 'node:path';
import { UsageError } from '../util/errors.ts';
import { formatAddress, reasonOf, type SocketAddress, UNIX_PATH_BYTES_MAX } from './address.ts';
import { Connection } from './connection.ts';
import type { ConnectionLimit } from './connection-limit.ts';
import { type OnUnixSocket, tellDescriptor } from './descriptor.ts';
import type { HotSockets } from './hot-sockets.ts';
import { Incoming } from './incoming.ts';

/** Waiting for connections on one address. */
export interface ListenOptions {
  readonly limit: ConnectionLimit;
  readonly hotSockets?: HotSockets | undefined;
  readonly onUnixSocket?: OnUnixSocket | undefined;
  readonly onConnection: (connection: Connection) => void;
}

export class Listener {
  /** Where it listens; for port 0 with the port that the system chose. */
  readonly address: SocketAddress;
  readonly #server: Server;
  readonly #options: ListenOptions;
  readonly #waiting = new Set<Socket>();

  constructor(server: Server, address: SocketAddress, options: ListenOptions) {
    this.#server = server;
    this.address = address;
    this.#options = options;
    server.on('connection', (socket: Socket) => {
      this.#waiting.add(socket);
      if (!options.limit.admit(() => this.#serve(socket))) {
        this.#waiting.delete(socket);
        socket.destroy();
      }
    });
  }

  /** Accepts nobody any more; connections that are served go on. A Unix socket's file goes. */
  close(): void {
    this.#server.close();
    for (const socket of this.#waiting) socket.destroy();
  }

  #serve(socket: Socket): Promise<unknown> {
    this.#waiting.delete(socket);
    if (socket.destroyed) return Promise.resolve();
    if (this.address.type === 'unix') tellDescriptor(socket, this.#options.onUnixSocket);
    const connection = adopt(socket, this.address, this.#options.hotSockets);
    this.#options.onConnection(connection);
    return connection.closed;
  }
}

/** Rejects with `UsageError` naming the address when it cannot be had. */
export async function listen(address: SocketAddress, options: ListenOptions): Promise<Listener> {
  const makeServer = () => createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const bound = await bind(address, makeServer);
  return new Listener(bound.server, bound.address, options);
}

/** A server of any kind at an address, its port known. Rejects as `listen`. */
export async function bind<Kind extends Server>(
  address: SocketAddress,
  makeServer: () => Kind,
): Promise<{ readonly server: Kind; readonly address: SocketAddress }> {
  if (address.type === 'unix' && address.path === '') {
    throw new UsageError('Cannot listen on a Unix socket: its path is empty');
  }
  if (address.type === 'unix' && address.path.includes('\0')) {
    throw new UsageError('Cannot listen on a Unix socket: its path contains NUL');
  }
  if (address.type === 'unix' && Buffer.byteLength(address.path) > UNIX_PATH_BYTES_MAX) {
    throw new UsageError(
      `Cannot listen on ${formatAddress(address)}: a socket's path has at most ` +
        `${UNIX_PATH_BYTES_MAX} bytes`,
    );
  }
  try {
    return await tryBind(address, makeServer());
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE' && address.type === 'unix' && (await removeStale(address.path))) {
      return bind(address, makeServer);
    }
    if (code === 'EADDRINUSE' && address.type === 'inet') {
      const { port, portMax = port } = address;
      if (port < portMax) return bind({ ...address, port: port + 1 }, makeServer);
    }
    const reason = whyNot(error as NodeJS.ErrnoException, address);
    throw new UsageError(`Cannot listen on ${formatAddress(address)}: ${reason}`, { cause: error });
  }
}

/** Node reports EACCES for a Unix socket whose directory does not exist. */
function whyNot(error: NodeJS.ErrnoException, address: SocketAddress): string {
  const directory = address.type === 'unix' ? dirname(address.path) : '.';
  if (error.code === 'EACCES' && !existsSync(directory)) return `there is no ${directory}`;
  if (error.code === 'EADDRINUSE' && address.type === 'unix' && !isSocket(address.path)) {
    return 'there is something else than a socket';
  }
  return reasonOf(error);
}

function tryBind<Kind extends Server>(
  address: SocketAddress,
  server: Kind,
): Promise<{ server: Kind; address: SocketAddress }> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      // The host has no descriptor for somebody: he is lost, and Node would end the process.
      server.on('error', () => {});
      resolve({ server, address: actualAddress(address, server) });
    });
    if (address.type === 'unix') server.listen({ path: address.path });
    else server.listen({ host: address.host, port: address.port });
  });
}

function actualAddress(address: SocketAddress, server: Server): SocketAddress {
  if (address.type === 'unix') return address;
  const { port } = server.address() as AddressInfo;
  return { type: 'inet', host: address.host, port };
}

/** Removes a socket that a dead process left; never one that is in use, nor any other file. */
async function removeStale(path: string): Promise<boolean> {
  if (!isSocket(path)) return false;
  if (!(await refusesConnections(path))) return false;
  unlinkSync(path);
  return true;
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}

function refusesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

/**
 * Node's server makes its sockets without `onread`, which is what lets us choose where bytes are
 * read to; so the handle of the accepted socket moves to a socket of our own making. `_handle` and
 * `handle` are undocumented (and as old as Node): without them plain `data` events do the work.
 */
function adopt(accepted: Socket, address: SocketAddress, hotSockets?: HotSockets): Connection {
  const peer = peerOf(accepted, address);
  const { _handle: handle } = accepted as { _handle?: object | null };
  if (!handle) return new Connection(accepted, peer);
  const incoming = new Incoming();
  const options = { handle, allowHalfOpen: true, pauseOnCreate: true, onread: incoming.onread };
  return new Connection(new Socket(options), peer, incoming, hotSockets);
}

/** Who is at the other end of an accepted socket. */
export function peerOf(socket: Socket, address: SocketAddress): string {
  if (address.type === 'unix') return `client of ${formatAddress(address)}`;
  const { remoteAddress: host = '?', remotePort: port = 0 } = socket;
  return formatAddress({ type: 'inet', host, port });
}
