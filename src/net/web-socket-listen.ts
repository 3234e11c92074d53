import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  STATUS_CODES,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { Clock } from '../util/clock.ts';
import {
  NET_KEEP_ALIVE_MS,
  QMP_STRANGER_MS_MAX,
  WEB_SOCKET_HEADER_BYTES_MAX,
} from '../util/limits.ts';
import type { SocketAddress } from './address.ts';
import type { ConnectionLimit } from './connection-limit.ts';
import { bind, peerOf } from './listen.ts';
import { WebSocketConnection } from './web-socket.ts';

/**
 * Waiting for WebSockets on one address. Whoever asks for anything else over HTTP is told so and
 * let go; a request that is not whole in time is cut.
 */
export interface WebSocketListenOptions {
  readonly limit: ConnectionLimit;
  /** Sockets at a time, over and above those that the limit serves, that have asked nothing yet. */
  readonly strangersMax: number;
  readonly messageBytesMax: number;
  /** The one subprotocol that is spoken, for clients that ask for some. */
  readonly protocol: string;
  readonly clock: Clock;
  /** The HTTP status with which a request is refused; undefined for a welcome one. */
  readonly refuse: (headers: IncomingHttpHeaders) => number | undefined;
  readonly onConnection: (connection: WebSocketConnection) => void;
}

export class WebSocketListener {
  /** Where it listens; for port 0 with the port that the system chose. */
  readonly address: SocketAddress;
  readonly #server: Server;
  readonly #options: WebSocketListenOptions;
  readonly #upgrades: WebSocketServer;
  /** Those who ask, and those who wait for their turn. */
  readonly #strangers = new Set<Duplex>();

  constructor(server: Server, address: SocketAddress, options: WebSocketListenOptions) {
    this.address = address;
    this.#server = server;
    this.#options = options;
    this.#upgrades = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: options.messageBytesMax,
      handleProtocols: (offered) => offered.has(options.protocol) && options.protocol,
    });
    server.on('connection', (socket) => this.#meet(socket));
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Accepts nobody any more; WebSockets that are open go on. A Unix socket's file goes. */
  close(): void {
    this.#server.close();
    for (const socket of this.#strangers) socket.destroy();
  }

  #meet(socket: Duplex): void {
    if (this.#strangers.size === this.#options.strangersMax) {
      socket.destroy();
      return;
    }
    this.#strangers.add(socket);
    socket.on('error', () => {}); // It closes then.
    socket.once('close', () => this.#strangers.delete(socket));
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const status = this.#options.refuse(request.headers);
    if (status !== undefined) {
      const reason = `HTTP/1.1 ${status} ${STATUS_CODES[status]}`;
      socket.end(`${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () =>
        socket.destroy(),
      );
    } else if (!this.#options.limit.admit(() => this.#serve(request, socket, head))) {
      socket.destroy();
    }
  }

  #serve(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    this.#strangers.delete(socket);
    return new Promise((resolve) => {
      if (socket.destroyed) resolve();
      socket.once('close', () => resolve());
      const peer = peerOf(socket as Socket, this.address);
      this.#upgrades.handleUpgrade(request, socket, head, (webSocket) => {
        const { clock, onConnection } = this.#options;
        onConnection(new WebSocketConnection(webSocket, { peer, clock }));
      });
    });
  }
}

/** Rejects with `UsageError` naming the address when it cannot be had. */
export async function listenForWebSockets(
  address: SocketAddress,
  options: WebSocketListenOptions,
): Promise<WebSocketListener> {
  const bound = await bind(address, () =>
    createServer(
      {
        maxHeaderSize: WEB_SOCKET_HEADER_BYTES_MAX,
        headersTimeout: QMP_STRANGER_MS_MAX,
        requestTimeout: QMP_STRANGER_MS_MAX,
        connectionsCheckingInterval: QMP_STRANGER_MS_MAX / 10,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: NET_KEEP_ALIVE_MS,
      },
      (_request, response) => {
        response.writeHead(426, { Connection: 'close', Upgrade: 'websocket' });
        response.end('This is a WebSocket.\n');
      },
    ),
  );
  return new WebSocketListener(bound.server, bound.address, options);
}
