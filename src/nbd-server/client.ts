import type { Connection } from '../net/connection.ts';
import { ConnectionEnded } from '../net/connection.ts';
import type { BufferPool } from '../util/buffer-pool.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { ProtocolError } from '../util/errors.ts';
import { CLIENT_LINGER_MS } from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import type { NbdExport } from './export.ts';
import { type Agreement, type NegotiationHost, negotiate } from './negotiation.ts';
import type { PayloadBudget } from './payload-budget.ts';
import { Transmission } from './transmission.ts';

/**
 * One client from its first byte to its last: it negotiates within a given time, then it is served,
 * then it is sent off in order or cut. A client is *gone* when its socket is closed and nothing
 * that it asked for is still in flight below.
 */
export interface ClientOptions {
  readonly connection: Connection;
  readonly host: NegotiationHost;
  readonly pool: BufferPool;
  readonly budget: PayloadBudget;
  readonly clock: Clock;
  readonly log: Log;
  /** Infinity for no bound. */
  readonly handshakeMsMax: number;
}

export class ServedClient {
  /** Address of the other end. */
  readonly peer: string;
  /** Resolves when the client is gone. */
  readonly gone: Promise<void>;
  readonly #options: ClientOptions;
  readonly #connection: Connection;
  #export: NbdExport | undefined;
  #transmission: Transmission | undefined;
  #timer: Timer | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#connection = options.connection;
    this.peer = options.connection.peer;
    this.gone = this.#serve();
  }

  /** What it uses; undefined during the handshake. */
  get export(): NbdExport | undefined {
    return this.#export;
  }

  get bytesReceived(): number {
    return this.#connection.bytesReceived;
  }

  get bytesSent(): number {
    return this.#connection.bytesSent;
  }

  /** Answers what is in flight, then closes. A client that haggles is told at its next option. */
  stop(): void {
    if (this.#transmission !== undefined) this.#transmission.stop();
    else this.#bound(CLIENT_LINGER_MS);
  }

  /** Closes at once; what is in flight below is not answered. */
  cut(): void {
    this.#connection.destroy();
  }

  async #serve(): Promise<void> {
    const agreement = await this.#negotiate();
    if (agreement === undefined) this.#sendOff();
    else this.#transmit(agreement);
    await this.#connection.closed;
    this.#timer?.cancel();
    this.#transmission?.abandon();
    await this.#transmission?.settled();
    this.#export?.clients.delete(this);
  }

  async #negotiate(): Promise<Agreement | undefined> {
    const { handshakeMsMax, host, log } = this.#options;
    this.#bound(handshakeMsMax);
    try {
      return await negotiate(this.#connection, host);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      // Port scanners and health checks connect and leave: nobody wants to read about them.
      if (!(error instanceof ConnectionEnded)) {
        log.info({ reason: error.message }, 'NBD handshake failed');
      }
      return undefined;
    }
  }

  #transmit(agreement: Agreement): void {
    const { clock, pool, budget, log } = this.#options;
    this.#timer?.cancel();
    if (agreement.export.shuttingDown) {
      this.cut();
      return;
    }
    this.#export = agreement.export;
    this.#export.clients.add(this);
    log.debug({ export: agreement.export.name }, 'NBD client connected');
    this.#transmission = new Transmission({
      connection: this.#connection,
      agreement,
      pool,
      budget,
      clock,
      log,
      onFinished: () => this.#sendOff(),
    });
    this.#connection.takeOver(this.#transmission);
  }

  /** Ends our side behind the last reply; a client that does not end its own is cut. */
  #sendOff(): void {
    this.#connection.end();
    this.#bound(CLIENT_LINGER_MS);
  }

  /** The connection is cut after so long, unless something else is said meanwhile. */
  #bound(delayMs: number): void {
    this.#timer?.cancel();
    if (delayMs !== Number.POSITIVE_INFINITY) {
      this.#timer = this.#options.clock.after(delayMs, () => this.cut());
    }
  }
}
