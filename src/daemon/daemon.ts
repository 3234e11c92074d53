import { availableParallelism } from 'node:os';
import { createDispatcher } from '../monitor/create-dispatcher.ts';
import type { Dispatcher } from '../monitor/dispatcher.ts';
import { Monitor } from '../monitor/monitor.ts';
import { Storage } from '../monitor/storage.ts';
import type { SocketAddress } from '../net/address.ts';
import { BusyPoll } from '../net/busy-poll.ts';
import { loadSyscalls } from '../sys/syscalls.ts';
import type { Clock } from '../util/clock.ts';
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
  readonly #log: Log;

  constructor(options: DaemonOptions) {
    const { clock, log, version, ffi } = options;
    this.#log = log;
    this.storage = new Storage({
      clock,
      log,
      syscalls: loadSyscalls({ ffi, log }),
      busyPoll: availableParallelism() > 1 ? new BusyPoll(clock) : undefined,
    });
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

  /** Opens a QMP monitor; resolves with its address, the port known. */
  listenQmp(address: SocketAddress): Promise<SocketAddress> {
    return this.#monitor.listen(address);
  }

  /** Where the NBD server listens; nothing while there is none. */
  nbdAddresses(): readonly SocketAddress[] {
    return this.storage.nbd.server?.addresses ?? [];
  }

  /**
   * Takes everything down in order: clients are answered, jobs cancelled, disks flushed and closed.
   */
  async close(): Promise<void> {
    this.#log.info({}, 'closing');
    await this.storage.close();
    await this.#monitor.close();
  }
}
