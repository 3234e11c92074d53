import { writeLine } from '../../protocol/qmp/json-writer.ts';
import { isLoopback, type SocketAddress } from '../net/address.ts';
import { ConnectionLimit } from '../net/connection-limit.ts';
import { formatEndpoint } from '../net/endpoint.ts';
import { listen } from '../net/listen.ts';
import { type Clock, within } from '../util/clock.ts';
import { UsageError } from '../util/errors.ts';
import {
  QMP_GOODBYE_MS_MAX,
  QMP_MESSAGE_BYTES_MAX,
  QMP_SESSIONS_MAX,
  QMP_STRANGER_MS_MAX,
  QMP_STRANGERS_MAX,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type MonitorConnection, QmpSession } from './session.ts';
import type { Token } from './token.ts';
import { whyNotWelcome } from './web-socket-door.ts';

export interface MonitorOptions {
  /** What clients have to show. */
  readonly token?: Token | undefined;
  /** Clients speak in WebSocket frames, not in lines. */
  readonly webSocket?: boolean;
}

/**
 * Where QMP clients come in: any number of Unix sockets, ports and WebSockets, and all sessions
 * that they brought. Whoever reaches QMP owns every disk here: beyond this host it takes a token.
 */
export class Monitor {
  readonly #dispatcher: Dispatcher;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limit = new ConnectionLimit(QMP_SESSIONS_MAX);
  readonly #listeners: { close(): void }[] = [];
  readonly #sessions = new Map<QmpSession, MonitorConnection>();
  readonly #unsubscribe: () => void;

  constructor(options: {
    readonly dispatcher: Dispatcher;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#dispatcher = options.dispatcher;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#unsubscribe = options.dispatcher.onEvent((event) => {
      if (this.#sessions.size === 0) return;
      const line = Buffer.from(writeLine(event), 'latin1');
      for (const session of this.#sessions.keys()) session.notify(line);
    });
  }

  /** Resolves with the address, its port known; rejects with `UsageError` naming what is wrong. */
  async listen(address: SocketAddress, options: MonitorOptions = {}): Promise<SocketAddress> {
    const { token, webSocket = false } = options;
    if (address.type === 'inet' && !isLoopback(address.host) && token === undefined) {
      throw new UsageError(
        `Cannot listen for QMP on ${formatEndpoint({ address, webSocket })} without a token: ` +
          'only Unix sockets and loopback addresses are safe without one (--qmp-token-file, or ' +
          'token-file=PATH of --monitor)',
      );
    }
    // HTTP is loaded for those who want it: it takes a tenth of the time to start.
    const listener = webSocket
      ? await (await import('../net/web-socket-listen.ts')).listenForWebSockets(address, {
          limit: this.#limit,
          strangersMax: QMP_STRANGERS_MAX,
          messageBytesMax: QMP_MESSAGE_BYTES_MAX,
          protocol: 'qmp',
          clock: this.#clock,
          refuse: (headers) => whyNotWelcome(headers, token),
          onConnection: (connection) => this.serve(connection),
        })
      : await listen(address, {
          limit: this.#limit,
          onConnection: (connection) =>
            this.serve(connection, token, { mayBeBrowser: address.type === 'inet' }),
        });
    this.#listeners.push(listener);
    return listener.address;
  }

  /** Serves a connection, however it came in; with a token, one that has yet to show it. */
  serve(
    connection: MonitorConnection,
    token?: Token,
    { mayBeBrowser = false }: { readonly mayBeBrowser?: boolean } = {},
  ): void {
    const { peer } = connection;
    if (token !== undefined && this.#strangers() >= QMP_STRANGERS_MAX) {
      this.#log.warn({ peer }, 'too many QMP clients without the token: turned away');
      connection.destroy();
      return;
    }
    this.#log.debug({ peer }, 'QMP client connected');
    const session = new QmpSession(connection, {
      version: this.#dispatcher.version,
      execute: (...request) => this.#dispatcher.execute(...request),
      token,
      mayBeBrowser,
      clock: this.#clock,
      log: this.#log,
    });
    this.#sessions.set(session, connection);
    const patience = this.#clock.after(QMP_STRANGER_MS_MAX, () => {
      if (!session.isTrusted) connection.destroy();
    });
    void connection.closed.then(() => {
      patience.cancel();
      this.#sessions.delete(session);
      this.#log.debug({ peer }, 'QMP client gone');
    });
  }

  /** Nobody comes in any more; clients get what is unsent, and some time to take it. */
  async close(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    this.#unsubscribe();
    const connections = [...this.#sessions.values()];
    for (const session of this.#sessions.keys()) session.end();
    const gone = Promise.all(connections.map((connection) => connection.closed));
    await within(this.#clock, QMP_GOODBYE_MS_MAX, gone);
    for (const connection of connections) connection.destroy();
  }

  #strangers(): number {
    return [...this.#sessions.keys()].filter((session) => !session.isTrusted).length;
  }
}
