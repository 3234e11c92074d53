/** Where a listener waits or a peer is reached. The shapes are those of QMP's `SocketAddress`. */
export interface InetAddress {
  readonly type: 'inet';
  /** A name or a literal address, without brackets. */
  readonly host: string;
  /** For a listener, 0 lets the system choose. */
  readonly port: number;
  /** A listener takes the first free port from `port` up to here. */
  readonly portMax?: number;
}

export interface UnixAddress {
  readonly type: 'unix';
  readonly path: string;
}

export type SocketAddress = InetAddress | UnixAddress;

/** What fits into `sockaddr_un`; the system cuts off the rest without a word. */
export const UNIX_PATH_BYTES_MAX = 107;

/** As people write it: `127.0.0.1:10809`, `[::1]:10809`, `unix:/run/nbd.sock`. */
export function formatAddress(address: SocketAddress): string {
  if (address.type === 'unix') return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** Whether only this host can reach what listens there, by how the address is written. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

export const PORT_MAX = 65_535;

/** Undefined unless it is a number that a port can have, and nothing but digits. */
export function parsePort(text: string): number | undefined {
  const port = Number(text);
  return /^\d{1,5}$/.test(text) && port <= PORT_MAX ? port : undefined;
}

/**
 * What the system said, in words; undefined codes keep the system's own sentence. Of a name with
 * several addresses Node tells several errors, and no sentence for them all.
 */
export function reasonOf(error: NodeJS.ErrnoException): string {
  const reason = error.code === undefined ? undefined : REASONS[error.code];
  if (reason !== undefined) return reason;
  const [first] = error instanceof AggregateError ? error.errors : [];
  return first instanceof Error ? reasonOf(first) : error.message;
}

const REASONS: Record<string, string> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'the address is in use',
  EADDRNOTAVAIL: 'this host does not have that address',
  EAI_AGAIN: 'the host name cannot be looked up now',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by the peer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'the network is unreachable',
  ENOENT: 'there is no such socket',
  ENOTDIR: 'a part of the path is not a directory',
  ENOTFOUND: 'the host name is unknown',
  ENOTSOCK: 'it is not a socket',
  EPIPE: 'the peer has closed the connection',
  ETIMEDOUT: 'timed out',
};
