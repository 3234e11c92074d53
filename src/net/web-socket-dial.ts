import { STATUS_CODES } from 'node:http';
import { WebSocket } from 'ws';
import type { Clock } from '../util/clock.ts';
import { reasonOf, type SocketAddress } from './address.ts';
import { DialError } from './dial.ts';
import { formatEndpoint } from './endpoint.ts';
import { WebSocketConnection } from './web-socket.ts';

/** Opening a WebSocket to a listener elsewhere, within a given time. */
export interface WebSocketDialOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly messageBytesMax: number;
  /** Shown as `Authorization: Bearer`. */
  readonly token?: string | undefined;
}

/** Rejects with `DialError`, whose message names the address and says why. */
export function dialWebSocket(
  address: SocketAddress,
  options: WebSocketDialOptions,
): Promise<WebSocketConnection> {
  const { clock, timeoutMs, messageBytesMax, token } = options;
  const peer = formatEndpoint({ address, webSocket: true });
  const url = address.type === 'unix' ? `${peer}:/` : peer;
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    handshakeTimeout: timeoutMs,
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
  });
  return new Promise((resolve, reject) => {
    const fail = (code: string, reason: string, cause?: Error) =>
      reject(new DialError(code, `Cannot connect to ${peer}: ${reason}`, { cause }));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      fail(error.code ?? 'EPROTO', reasonOf(error), error),
    );
    socket.once('unexpected-response', (_request, response) => {
      const { statusCode = 0 } = response;
      const why = statusCode === 401 ? 'the token is missing or wrong' : STATUS_CODES[statusCode];
      fail('EPROTO', `the server answered ${statusCode}: ${why}`);
      socket.terminate();
    });
    socket.once('open', () => resolve(new WebSocketConnection(socket, { peer, clock })));
  });
}
