import { formatAddress } from '../net/address.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { sleep } from '../util/clock.ts';
import { BlockError, ProtocolError } from '../util/errors.ts';
import {
  NBD_HANDSHAKE_MS_MAX,
  RECONNECT_PAUSE_MS_MAX,
  RECONNECT_PAUSE_MS_MIN,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { type ConnectOptions, NbdClient } from './nbd-client.ts';
import type { Agreement } from './negotiate.ts';

/**
 * A server that may go away and come back. While it is away attempts go on in the background for
 * ever, with growing pauses. A request waits for one to succeed until `delayMs` after the
 * connection was lost; later it fails, but cuts a long pause short and waits a second for the
 * attempt that it brings about so: the server may have been back for long.
 *
 *     connected --lost------------------------> connecting
 *     connecting --the same disk is back------> connected
 *     connecting --another disk---------------> failed
 *     connected --the server broke the rules--> failed
 *
 * What comes back must be the disk that went away, as far as one can see (the same size), and take
 * what its owner goes on sending (`Needs`). Failed is for ever: whoever knows better opens the disk
 * anew.
 */
export interface LinkOptions extends ConnectOptions {
  /** How long requests wait for a lost server; 0: only for an attempt that one brings about. */
  readonly delayMs: number;
  /** How long to try for the first connection; 0: once. */
  readonly openTimeoutMs: number;
  readonly log: Log;
}

/** What the owner of a link counts on, whichever server comes back. */
export interface Needs {
  /** Requests are multiples of so many bytes. */
  readonly alignment: number;
  readonly writes: boolean;
}

type State =
  | { readonly is: 'connected'; readonly client: NbdClient; readonly since: number }
  | {
      readonly is: 'connecting';
      /** Requests wait up to here, in milliseconds of the clock. */
      readonly waitUntil: number;
      /** Requests wait for the end of the first attempt in any case. */
      awaited: boolean;
      /** So long requests wait for the end of an attempt that one of them has brought about. */
      hurriedUntil: number;
      /** Why there is no connection; the latest reason. */
      reason: Error;
    }
  | { readonly is: 'failed' | 'closed'; readonly reason: Error };

const HURRIED_MS = 1_000;
const SILENT =
  'the NBD server has requests and does not answer: they wait until it does, or is given up (yank)';

interface Waiter {
  readonly resolve: (client: NbdClient) => void;
  readonly reject: (error: Error) => void;
}

export class NbdLink {
  /** What the server told when it was last connected. */
  info: Agreement;
  /** Asked when a server comes back; all that the first could do, until the owner says less. */
  needs: () => Needs;
  readonly #options: LinkOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listeners = new Set<() => void>();
  #state: State;

  /** Take no more requests, and have not ended: a server that goes down still answers some. */
  readonly #leaving = new Set<NbdClient>();

  #waiters: Waiter[] = [];
  #waitersTimer: Timer | undefined;

  #pauseMs = RECONNECT_PAUSE_MS_MIN;
  /** Between two attempts. */
  #pause: Timer | undefined;
  #attempt: AbortController | undefined;
  #lastAttemptEnded = Number.NEGATIVE_INFINITY;

  /** Rejects with the reason of the last attempt, an error of `NbdClient.connect`. */
  static async open(options: LinkOptions): Promise<NbdLink> {
    const { log, address } = options;
    const onSilence = (isSilent: boolean) => {
      const server = formatAddress(address);
      if (isSilent) log.warn({ server }, SILENT);
      else log.warn({ server }, 'the NBD server answers again');
    };
    const telling = { ...options, onSilence };
    return new NbdLink(telling, await connectFirst(telling));
  }

  private constructor(options: LinkOptions, client: NbdClient) {
    this.#options = options;
    this.#clock = options.clock;
    this.#log = options.log;
    this.info = client.info;
    const { abilities, blockSize } = client.info;
    const needs = { alignment: blockSize?.minimum ?? 1, writes: !abilities.readOnly };
    this.needs = () => needs;
    this.#state = this.#connected(client);
  }

  /** The connection; undefined when there is none, then `wait` for one. */
  get client(): NbdClient | undefined {
    if (this.#state.is !== 'connected') return undefined;
    const { client } = this.#state;
    if (client.isUsable) return client;
    this.#lost(client, false);
    return undefined;
  }

  /**
   * Why there is no connection, or that the server is silent; undefined when all is well. (Whoever
   * asks may find out first.) A server that goes down may be silent beside the one that came back:
   * its requests are waited for all the same.
   */
  get unreachable(): string | undefined {
    const { client } = this;
    const state = this.#state;
    if (client === undefined && state.is !== 'connected') return this.#whyNot(state);
    for (const one of [client, ...this.#leaving]) {
      if (one?.silentMs === undefined) continue;
      return `${one.peer} has not answered for ${Math.floor(one.silentMs / 1000)} s`;
    }
    return undefined;
  }

  /** With how long requests still wait: then they fail, and whoever sent them may give up. */
  #whyNot(state: Exclude<State, { is: 'connected' }>): string {
    const restMs = state.is === 'connecting' ? state.waitUntil - this.#clock.now() : 0;
    const { message } = state.reason;
    return restMs > 0 ? `${message} (waited for ${Math.ceil(restMs / 1000)} s more)` : message;
  }

  /** Whether a request whose connection was lost waits for the next one. */
  get resends(): boolean {
    return this.#options.delayMs > 0;
  }

  /** A connection, as soon as there is one. Rejects with EIO when there is none in time. */
  wait(): Promise<NbdClient> {
    const { client } = this;
    if (client !== undefined) return Promise.resolve(client);
    const state = this.#state;
    if (state.is === 'connecting') {
      const now = this.#clock.now();
      if (this.#hurry()) state.hurriedUntil = now + HURRIED_MS;
      const restMs = Math.max(state.waitUntil, state.hurriedUntil) - now;
      if (state.awaited || restMs > 0) {
        this.#waitersTimer ??= this.#clock.after(Math.max(0, restMs), () => this.#onWaitOver());
        return new Promise((resolve, reject) => {
          this.#waiters.push({ resolve, reject });
        });
      }
    }
    return Promise.reject(this.#unreachableError());
  }

  /** Calls `listener` whenever a lost disk has been found again, before requests go on. */
  watchReconnects(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Fails what waits for a connection with `reason`, and what waits for an answer by dropping the
   * connection. A later request waits for one attempt to reconnect.
   */
  cancelInFlight(reason: BlockError): void {
    this.#rejectWaiters(reason);
    // First: who asks for it may find out that it is leaving.
    const { client } = this;
    for (const leaving of this.#leaving) leaving.abort(reason);
    if (client === undefined || client.pending === 0) return;
    client.abort(reason);
    this.#lost(client, true);
  }

  /** Says goodbye when the requests in flight have been answered. */
  async close(): Promise<void> {
    const { client } = this;
    this.#state = { is: 'closed', reason: new Error('the disk was closed') };
    this.#stopConnecting();
    this.#rejectWaiters(this.#unreachableError());
    await Promise.all([client, ...this.#leaving].map((one) => one?.close()));
  }

  #connected(client: NbdClient): State {
    void client.closed.then(() => {
      if (this.#state.is === 'connected' && this.#state.client === client)
        this.#lost(client, false);
    });
    return { is: 'connected', client, since: this.#clock.now() };
  }

  #lost(client: NbdClient, awaited: boolean): void {
    this.#leaving.add(client);
    void client.closed.then(() => this.#leaving.delete(client));
    const now = this.#clock.now();
    const livedMs = this.#state.is === 'connected' ? now - this.#state.since : 0;
    const reason = client.endReason ?? new Error(`Connection to ${client.peer} was closed`);
    if (reason instanceof ProtocolError) {
      this.#fail(reason);
      return;
    }
    const seconds = this.#options.delayMs / 1000;
    const what = seconds > 0 ? `wait for it for ${seconds} s` : 'fail until it is back';
    this.#tell('warn', reason, `lost the NBD server: requests ${what}`);
    const waitUntil = now + this.#options.delayMs;
    this.#state = { is: 'connecting', waitUntil, awaited, hurriedUntil: 0, reason };
    this.#pauseMs = RECONNECT_PAUSE_MS_MIN;
    // A server that takes connections and drops them must not keep us busy.
    if (livedMs < RECONNECT_PAUSE_MS_MIN) this.#pauseThenConnect();
    else void this.#connect();
  }

  async #connect(): Promise<void> {
    this.#stopConnecting();
    const attempt = new AbortController();
    this.#attempt = attempt;
    let client: NbdClient;
    try {
      client = await NbdClient.connect({ ...this.#options, signal: attempt.signal });
    } catch (error) {
      if (this.#attempt === attempt) this.#onAttemptFailed(error as Error);
      return;
    }
    if (this.#attempt === attempt) this.#onAttemptSucceeded(client);
    else void client.close();
  }

  #onAttemptFailed(error: Error): void {
    const state = this.#state;
    if (state.is !== 'connecting') return;
    this.#attempt = undefined;
    this.#lastAttemptEnded = this.#clock.now();
    this.#tell('debug', error, 'no connection to the NBD server yet');
    state.reason = error;
    state.awaited = false;
    state.hurriedUntil = 0;
    if (this.#clock.now() >= state.waitUntil) this.#rejectWaiters(this.#unreachableError());
    this.#pauseThenConnect();
  }

  #onAttemptSucceeded(client: NbdClient): void {
    this.#attempt = undefined;
    const difference = this.#difference(client.info);
    if (difference !== undefined) {
      void client.close();
      this.#fail(new Error(`${client.peer} came back as another disk: ${difference}`));
      return;
    }
    // As loud as the loss, of which somebody may have been woken up.
    this.#log.warn({ server: client.peer }, 'the NBD server is back');
    this.info = client.info;
    this.#state = this.#connected(client);
    for (const listener of this.#listeners) listener();
    for (const waiter of this.#takeWaiters()) waiter.resolve(client);
  }

  /** What the disk that came back lacks. */
  #difference(now: Agreement): string | undefined {
    const before = this.info;
    const { alignment, writes } = this.needs();
    if (now.size !== before.size) {
      return `it has ${now.size} bytes, before it had ${before.size}`;
    }
    if (now.abilities.readOnly && writes) {
      return 'it is read-only, before it was writable';
    }
    const lost = before.contexts.find(({ name }) => !now.contexts.some((one) => one.name === name));
    if (lost !== undefined && this.#options.contexts !== undefined) {
      return `it has no ${lost.name} any more`;
    }
    if (now.blockSize === undefined) return undefined;
    const { minimum, maximum } = now.blockSize;
    const sent = `requests are multiples of ${alignment}`;
    if (minimum > alignment) return `its smallest block has ${minimum} bytes, and ${sent}`;
    if (maximum < alignment) return `its longest request has ${maximum} bytes, and ${sent}`;
    return undefined;
  }

  #fail(reason: Error): void {
    const remedy = 'add the node anew, and mirror to it again';
    this.#tell('error', reason, `the NBD server cannot be used any more: ${remedy}`);
    this.#state = { is: 'failed', reason };
    this.#rejectWaiters(this.#unreachableError());
  }

  #tell(level: 'debug' | 'warn' | 'error', { message: reason }: Error, what: string): void {
    this.#log[level]({ server: formatAddress(this.#options.address), reason }, what);
  }

  #pauseThenConnect(): void {
    this.#pause = this.#clock.after(this.#pauseMs, () => void this.#connect());
    this.#pauseMs = Math.min(2 * this.#pauseMs, RECONNECT_PAUSE_MS_MAX);
  }

  /**
   * Somebody asks: cuts a long pause short, yet never tries more often than after the shortest.
   * Returns whether an attempt has begun.
   */
  #hurry(): boolean {
    if (this.#attempt !== undefined) return false;
    if (this.#clock.now() - this.#lastAttemptEnded < RECONNECT_PAUSE_MS_MIN) return false;
    if (this.#pauseMs <= 2 * RECONNECT_PAUSE_MS_MIN) return false;
    void this.#connect();
    return true;
  }

  #stopConnecting(): void {
    this.#pause?.cancel();
    this.#pause = undefined;
    this.#attempt?.abort();
    this.#attempt = undefined;
  }

  #onWaitOver(): void {
    this.#waitersTimer = undefined;
    // An attempt that is awaited rejects them itself when it fails.
    const state = this.#state;
    if (state.is === 'connecting' && state.awaited) return;
    // One of them has brought about an attempt since the timer was set.
    const restMs = state.is === 'connecting' ? state.hurriedUntil - this.#clock.now() : 0;
    if (restMs > 0) this.#waitersTimer = this.#clock.after(restMs, () => this.#onWaitOver());
    else this.#rejectWaiters(this.#unreachableError());
  }

  #takeWaiters(): readonly Waiter[] {
    this.#waitersTimer?.cancel();
    this.#waitersTimer = undefined;
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }

  #rejectWaiters(error: Error): void {
    for (const waiter of this.#takeWaiters()) waiter.reject(error);
  }

  #unreachableError(): BlockError {
    const reason = this.#state.is === 'connected' ? undefined : this.#state.reason;
    const owner = this.#options.owner ?? 'the NBD server';
    return new BlockError('EIO', `Cannot reach the server of ${owner}: ${reason?.message}`, {
      cause: reason,
    });
  }
}

/**
 * Tries again, with growing pauses, until `openTimeoutMs` has passed; then once more. Not after
 * `signal`.
 */
async function connectFirst(options: LinkOptions): Promise<NbdClient> {
  const { clock, openTimeoutMs, signal } = options;
  const deadline = clock.now() + openTimeoutMs;
  for (let pauseMs = RECONNECT_PAUSE_MS_MIN; ; pauseMs *= 2) {
    const restMs = openTimeoutMs === 0 ? NBD_HANDSHAKE_MS_MAX : deadline - clock.now();
    const timeoutMs = Math.min(Math.max(restMs, RECONNECT_PAUSE_MS_MIN), NBD_HANDSHAKE_MS_MAX);
    try {
      return await NbdClient.connect({ ...options, timeoutMs });
    } catch (error) {
      const leftMs = deadline - clock.now();
      if (leftMs <= 0 || signal?.aborted) throw error;
      options.log.info({ reason: (error as Error).message }, 'waiting for the NBD server');
      await sleep(clock, Math.min(pauseMs, RECONNECT_PAUSE_MS_MAX, leftMs), signal);
    }
  }
}
