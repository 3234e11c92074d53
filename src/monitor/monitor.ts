import { writeLine } from '../../protocol/qmp/json-writer.ts';
import { formatAddress, type SocketAddress } from '../net/address.ts';
import { ConnectionLimit } from '../net/connection-limit.ts';
import { type Listener, listen } from '../net/listen.ts';
import { type Clock, sleep } from '../util/clock.ts';
import { UsageError } from '../util/errors.ts';
import { QMP_GOODBYE_MS_MAX, QMP_SESSIONS_MAX } from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type MonitorConnection, QmpSession } from './session.ts';

/**
 * Where QMP clients come in: any number of Unix sockets and loopback ports, and all sessions that
 * they brought. QMP knows no passwords: whoever reaches it owns every disk here, so it is not
 * offered to the network.
 */
export class Monitor {
  readonly #dispatcher: Dispatcher;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limit = new ConnectionLimit(QMP_SESSIONS_MAX);
  readonly #listeners: Listener[] = [];
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
  async listen(address: SocketAddress): Promise<SocketAddress> {
    if (address.type === 'inet' && !isLoopback(address.host)) {
      throw new UsageError(
        `Cannot listen for QMP on ${formatAddress(address)}: QMP has no passwords, so only ` +
          'Unix sockets and loopback addresses are allowed',
      );
    }
    const listener = await listen(address, {
      limit: this.#limit,
      onConnection: (connection) => this.serve(connection),
    });
    this.#listeners.push(listener);
    return listener.address;
  }

  /** Serves a connection that came in some other way. */
  serve(connection: MonitorConnection): void {
    const { peer } = connection;
    this.#log.debug({ peer }, 'QMP client connected');
    const session = new QmpSession(connection, {
      version: this.#dispatcher.version,
      execute: (command, given) => this.#dispatcher.execute(command, given),
      log: this.#log,
    });
    this.#sessions.set(session, connection);
    void connection.closed.then(() => {
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
    if (connections.length > 0) await Promise.race([gone, sleep(this.#clock, QMP_GOODBYE_MS_MAX)]);
    for (const connection of connections) connection.destroy();
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
