import { availableParallelism } from 'node:os';
import { createDispatcher } from '../monitor/create-dispatcher.ts';
import type { Dispatcher } from '../monitor/dispatcher.ts';
import { Monitor } from '../monitor/monitor.ts';
import { Storage } from '../monitor/storage.ts';
import { Token } from '../monitor/token.ts';
import type { SocketAddress } from '../net/address.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { HotSockets } from '../net/hot-sockets.ts';
import { readTokenFile } from '../net/token-file.ts';
import { loadSyscalls } from '../sys/syscalls.ts';
import { type Clock, within } from '../util/clock.ts';
import { UsageError } from '../util/errors.ts';
import { QMP_LAST_COMMANDS_MS_MAX } from '../util/limits.ts';
import type { Log } from '../util/log.ts';

/**
 * One set of nodes, exports and jobs with the commands that steer them. Everything that happens in
 * it happens by a QMP command, from a socket or from `dispatcher` in this process. Nothing here is
 * global: a process may hold several (the demonstration does).
 */
export interface DaemonOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Our own version, as `query-version` tells it. */
  readonly version: string;
  /** System calls through the FFI; without it Node's own, which are slower. */
  readonly ffi: boolean;
}

export class Daemon {
  readonly dispatcher: Dispatcher;
  readonly storage: Storage;
  /** Resolves when somebody has said `quit`. */
  readonly quitting: Promise<void>;
  readonly #monitor: Monitor;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(options: DaemonOptions) {
    const { clock, log, version, ffi } = options;
    this.#log = log;
    this.#clock = clock;
    const syscalls = loadSyscalls({ ffi, log });
    const { sockets } = syscalls;
    const mayStayAwake = availableParallelism() > 1;
    const hotSockets = sockets && new HotSockets(clock, sockets, mayStayAwake);
    this.storage = new Storage({ clock, log, syscalls, hotSockets });
    let onQuit = () => {};
    this.quitting = new Promise((resolve) => {
      onQuit = resolve;
    });
    this.dispatcher = createDispatcher(this.storage, {
      packageVersion: version,
      onQuit: () => onQuit(),
    });
    this.#monitor = new Monitor({ dispatcher: this.dispatcher, clock, log });
  }

  /**
   * Opens a QMP monitor; resolves with where it is, the port known. With a file, clients have to
   * show the token in it.
   */
  async listenQmp({ address, webSocket }: Endpoint, tokenFile?: string): Promise<Endpoint> {
    const token = tokenFile === undefined ? undefined : readToken(tokenFile);
    return { address: await this.#monitor.listen(address, { webSocket, token }), webSocket };
  }

  /** Where the NBD server listens; nothing while there is none. */
  nbdAddresses(): readonly SocketAddress[] {
    return this.storage.nbd.server?.addresses ?? [];
  }

  /**
   * Takes everything down in order: clients are answered, jobs cancelled, disks flushed and closed.
   * No commands are taken meanwhile: what one of them set up would be missed.
   */
  async close(): Promise<void> {
    this.#log.info({}, 'closing');
    const ended = this.dispatcher.close();
    // A server that does not answer is not waited for.
    this.storage.nodes.stopOpening();
    await within(this.#clock, QMP_LAST_COMMANDS_MS_MAX, ended);
    await this.storage.close();
    await this.#monitor.close();
  }
}

/** `UsageError` names the file. */
function readToken(path: string): Token {
  const text = readTokenFile(path);
  try {
    return Token.parse(text);
  } catch (error) {
    throw new UsageError(`Cannot use the token file ${path}: ${(error as Error).message}`);
  }
}
