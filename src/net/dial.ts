import { connect } from 'node:net';
import type { Clock } from '../util/clock.ts';
import { formatAddress, reasonOf, type SocketAddress, UNIX_PATH_BYTES_MAX } from './address.ts';
import { Connection } from './connection.ts';
import { type OnUnixSocket, tellDescriptor } from './descriptor.ts';
import type { HotSockets } from './hot-sockets.ts';
import { Incoming } from './incoming.ts';

/** Opening a connection to a listener elsewhere, within a given time. */

/** The peer could not be reached. `code` is the system's (`ECONNREFUSED`, `ETIMEDOUT`, ...). */
export class DialError extends Error {
  override readonly name = 'DialError';
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface DialOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly hotSockets?: HotSockets | undefined;
  /** Gives up: the attempt rejects with code `ECANCELED`. */
  readonly signal?: AbortSignal;
  readonly onUnixSocket?: OnUnixSocket | undefined;
}

/** The least that Node takes. */
const ATTEMPT_MS_MIN = 10;

/** Rejects with `DialError`, whose message names the address and says why. */
export function dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
  const name = formatAddress(address);
  const incoming = new Incoming();
  // Node fills the name of an abstract socket up with NULs, as nobody else does.
  if (address.type === 'unix' && address.path.includes('\0')) {
    return Promise.reject(new DialError('EINVAL', `Cannot connect to ${name}: it contains NUL`));
  }
  if (address.type === 'unix' && Buffer.byteLength(address.path) > UNIX_PATH_BYTES_MAX) {
    const reason = `a socket's path has at most ${UNIX_PATH_BYTES_MAX} bytes`;
    return Promise.reject(new DialError('EINVAL', `Cannot connect to ${name}: ${reason}`));
  }
  // Node gives each address of a name but the last 250 ms, which is less than a lost packet takes.
  const where =
    address.type === 'unix'
      ? { path: address.path }
      : {
          host: address.host,
          port: address.port,
          autoSelectFamilyAttemptTimeout: Math.max(
            ATTEMPT_MS_MIN,
            Math.ceil(options.timeoutMs / 4),
          ),
        };
  return new Promise((resolve, reject) => {
    const socket = connect({ ...where, allowHalfOpen: true, onread: incoming.onread });
    socket.pause();
    const fail = (code: string, reason: string, cause?: Error) => {
      finish();
      socket.on('error', () => {}); // Whatever else it says on its way out.
      socket.destroy();
      reject(new DialError(code, `Cannot connect to ${name}: ${reason}`, { cause }));
    };
    const onError = (error: NodeJS.ErrnoException) =>
      fail(error.code ?? 'EIO', reasonOf(error), error);
    const onAbort = () => fail('ECANCELED', 'given up');
    const timer = options.clock.after(options.timeoutMs, () =>
      fail('ETIMEDOUT', `no answer within ${options.timeoutMs} ms`),
    );
    const finish = () => {
      timer.cancel();
      socket.off('error', onError);
      options.signal?.removeEventListener('abort', onAbort);
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      finish();
      if (address.type === 'unix') tellDescriptor(socket, options.onUnixSocket);
      resolve(new Connection(socket, name, incoming, options.hotSockets));
    });
    options.signal?.addEventListener('abort', onAbort);
    if (options.signal?.aborted) onAbort();
  });
}
