import type { SocketAddress } from '../net/address.ts';
import type { Connection } from '../net/connection.ts';
import { ConnectionLimit } from '../net/connection-limit.ts';
import type { OnUnixSocket } from '../net/descriptor.ts';
import type { HotSockets } from '../net/hot-sockets.ts';
import { type Listener, listen } from '../net/listen.ts';
import { BufferPool } from '../util/buffer-pool.ts';
import type { Clock } from '../util/clock.ts';
import { RefusedError } from '../util/errors.ts';
import {
  NBD_CONNECTIONS_MAX,
  NBD_HANDSHAKE_MS_MAX,
  SERVER_KEPT_BYTES_MAX,
  SERVER_PAYLOAD_BYTES_MAX,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { ServedClient } from './client.ts';
import { type ExportOptions, NbdExport } from './export.ts';
import type { NegotiationHost } from './negotiation.ts';
import { PayloadBudget } from './payload-budget.ts';

/**
 * An NBD server: addresses that it listens on, exports that it offers, clients that it serves.
 * Sentences of refusals are QEMU's, because programs look for them.
 */
export interface NbdServerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly hotSockets?: HotSockets | undefined;
  readonly onUnixSocket?: OnUnixSocket | undefined;
  /** Clients at a time; Infinity for no bound. */
  readonly connectionsMax?: number;
  /** Time for a client's handshake; Infinity for no bound. */
  readonly handshakeMsMax?: number;
  /** An export is gone: no client uses it, and its use of the node has been released. */
  readonly onExportClosed?: (closed: NbdExport) => void;
}

export class NbdServer {
  readonly #options: NbdServerOptions;
  readonly #log: Log;
  readonly #pool = new BufferPool(SERVER_KEPT_BYTES_MAX);
  readonly #budget: PayloadBudget;
  readonly #exports = new Map<string, NbdExport>();
  readonly #clients = new Set<ServedClient>();
  readonly #host: NegotiationHost;
  #listeners: readonly Listener[] = [];
  #stopping = false;

  /**
   * Listens on all of the addresses. Rejects with `UsageError` when one of them cannot be had; then
   * nothing is left behind.
   */
  static async start(
    addresses: readonly SocketAddress[],
    options: NbdServerOptions,
  ): Promise<NbdServer> {
    const server = new NbdServer(options);
    await server.#listen(addresses);
    return server;
  }

  private constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#budget = new PayloadBudget(options.clock, SERVER_PAYLOAD_BYTES_MAX);
    this.#log = options.log.child({ component: 'nbd-server' });
    const server = this;
    this.#host = {
      exports: () => server.exports().filter((one) => !one.shuttingDown),
      multiConn: (options.connectionsMax ?? NBD_CONNECTIONS_MAX) !== 1,
      get shuttingDown() {
        return server.#stopping;
      },
    };
  }

  /** Where it listens; with the ports that the system chose. */
  get addresses(): readonly SocketAddress[] {
    return this.#listeners.map(({ address }) => address);
  }

  /** In the order in which they were added. */
  exports(): readonly NbdExport[] {
    return [...this.#exports.values()];
  }

  findExport(id: string): NbdExport | undefined {
    return this.#exports.get(id);
  }

  /** All clients, those that still negotiate included. */
  clients(): readonly ServedClient[] {
    return [...this.#clients];
  }

  /** Throws `RefusedError` when new clients would get another export by this name. */
  assertNameFree(name: string): void {
    if (this.exports().some((one) => one.name === name && !one.shuttingDown)) {
      throw new RefusedError(`NBD server already has export named '${name}'`);
    }
  }

  /** Throws `RefusedError` when the id or the name is taken; the use is then still the caller's. */
  addExport(options: ExportOptions): NbdExport {
    const { id, name } = options;
    if (this.#exports.has(id)) throw new RefusedError(`Block export id '${id}' is already in use`);
    this.assertNameFree(name);
    const added = new NbdExport(options, this.#options.clock);
    this.#exports.set(id, added);
    return added;
  }

  /**
   * Begins to take an export away: `safe` refuses while it has clients, `hard` cuts them. It is
   * gone when `onExportClosed` is called, which can be before this returns.
   */
  removeExport(id: string, mode: 'safe' | 'hard'): void {
    const removed = this.#exports.get(id);
    if (removed === undefined) throw new RefusedError(`Export '${id}' is not found`);
    if (removed.shuttingDown) throw new RefusedError(`Export '${id}' is already shutting down`);
    if (mode === 'safe' && removed.clients.size > 0) {
      throw new RefusedError(`export '${id}' still in use`);
    }
    for (const client of removed.clients) client.cut();
    this.#retire(removed);
  }

  /**
   * Stops in order: no new clients; requests in flight are answered; then connections are closed,
   * and each export goes with its last one. Resolves when all is gone.
   */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const listener of this.#listeners) listener.close();
    for (const client of this.#clients) client.stop();
    // The newest first, as QEMU tells of them.
    for (const one of [...this.exports()].reverse()) this.#retire(one);
    await Promise.all([...this.#clients].map(({ gone }) => gone));
  }

  /** From now on nobody new gets the export; it closes behind its last client. */
  #retire(removed: NbdExport): void {
    removed.shuttingDown = true;
    this.#closeIfUnused(removed);
  }

  #closeIfUnused(one: NbdExport): void {
    if (!one.shuttingDown || one.clients.size > 0 || this.#exports.get(one.id) !== one) return;
    this.#exports.delete(one.id);
    one.use.release();
    this.#options.onExportClosed?.(one);
  }

  async #listen(addresses: readonly SocketAddress[]): Promise<void> {
    const limit = new ConnectionLimit(this.#options.connectionsMax ?? NBD_CONNECTIONS_MAX);
    const { hotSockets, onUnixSocket } = this.#options;
    const onConnection = (connection: Connection) => this.#serve(connection);
    const listeners: Listener[] = [];
    try {
      for (const address of addresses) {
        listeners.push(await listen(address, { limit, onConnection, hotSockets, onUnixSocket }));
      }
    } catch (error) {
      for (const listener of listeners) listener.close();
      throw error;
    }
    this.#listeners = listeners;
  }

  #serve(connection: Connection): void {
    const client = new ServedClient({
      connection,
      host: this.#host,
      pool: this.#pool,
      budget: this.#budget,
      clock: this.#options.clock,
      log: this.#log.child({ client: connection.peer }),
      handshakeMsMax: this.#options.handshakeMsMax ?? NBD_HANDSHAKE_MS_MAX,
    });
    this.#clients.add(client);
    void client.gone.then(() => {
      this.#clients.delete(client);
      if (client.export !== undefined) this.#closeIfUnused(client.export);
    });
  }
}
