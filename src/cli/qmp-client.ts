import type { Connection } from '../net/connection.ts';
import { dial } from '../net/dial.ts';
import type { Endpoint } from '../net/endpoint.ts';
import { readTokenFile } from '../net/token-file.ts';
import type { WebSocketConnection } from '../net/web-socket.ts';
import type { Clock } from '../util/clock.ts';
import { RefusedError, UsageError } from '../util/errors.ts';
import { QMP_MESSAGE_BYTES_MAX } from '../util/limits.ts';

/**
 * A QMP client for the commands of the command line: one request at a time, events on the side.
 * It reads one message a line, as both QEMU and we write them.
 */
const DIAL_TIMEOUT_MS = 10_000;
const GREETING_TIMEOUT_MS = 10_000;

const WRONG_SHOWN_CHARACTERS = 40;
const MAY_BECOME_OBJECT = /^\s*(?:\{|$)/;
/** What a message has that is no error. */
const KINDS = ['QMP', 'event', 'return'];

type Transport = Connection | WebSocketConnection;

export interface QmpEvent {
  readonly event: string;
  readonly data?: Record<string, unknown>;
}

interface Message {
  readonly QMP?: object;
  readonly event?: string;
  readonly data?: Record<string, unknown>;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

export class QmpClient {
  readonly #connection: Transport;
  readonly #onEvent: (event: QmpEvent) => void;
  #unread = '';
  #messages: Message[] = [];
  #waiter: ((message: Message | undefined) => void) | undefined;
  #ended = false;
  /** It sent nothing that we could take for a greeting, for too long. */
  #isSilent = false;
  /** The beginning of what arrived and is no QMP. */
  #wrong: string | undefined;

  private constructor(connection: Transport, onEvent: (event: QmpEvent) => void) {
    this.#connection = connection;
    this.#onEvent = onEvent;
    connection.takeOver({
      push: (chunk) => {
        this.#receive(chunk.toString('utf8'));
        return false;
      },
      room: () => undefined,
      filled() {},
      // Nobody answers any more.
      end: () => this.close(),
    });
    void connection.closed.then(() => this.#end());
  }

  /** Connects and negotiates; `UsageError` when nobody answers there as a QMP server. */
  static async connect(
    endpoint: Endpoint,
    clock: Clock,
    options: {
      readonly tokenFile?: string | undefined;
      readonly onEvent?: (event: QmpEvent) => void;
    } = {},
  ): Promise<QmpClient> {
    const { tokenFile, onEvent = () => {} } = options;
    const token = tokenFile === undefined ? undefined : readTokenFile(tokenFile);
    const connection = await connect(endpoint, clock, token).catch((error: Error) => {
      throw new UsageError(`Cannot reach the daemon: ${error.message}`);
    });
    const client = new QmpClient(connection, onEvent);
    try {
      await client.#negotiate(clock, token, tokenFile);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async #negotiate(clock: Clock, token?: string, tokenFile?: string): Promise<void> {
    const { peer } = this.#connection;
    const patience = clock.after(GREETING_TIMEOUT_MS, () => {
      this.#isSilent = true;
      this.#end();
    });
    const greeting = await this.#next();
    patience.cancel();
    if (greeting?.QMP === undefined) throw this.#noQmp();
    try {
      await this.execute('qmp_capabilities', token === undefined ? token : { 'x-token': token });
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      const remedy =
        token === undefined
          ? '--qmp-token-file says where it is'
          : `it was shown the one in ${tokenFile}`;
      throw new UsageError(`${peer} lets us do nothing: ${error.message} (${remedy})`);
    }
  }

  /** The command's `return`; throws `RefusedError` with the server's class and sentence. */
  execute(command: string, args?: object): Promise<unknown> {
    return this.send({ execute: command, ...(args && { arguments: args }) });
  }

  /** Who is asked. */
  get peer(): string {
    return this.#connection.peer;
  }

  /** As `execute`, for a message that somebody else has put together. */
  async send(request: { readonly execute?: unknown }): Promise<unknown> {
    this.#connection.write(Buffer.from(`${JSON.stringify(request)}\r\n`));
    const reply = await this.#next();
    if (reply === undefined) {
      if (this.#wrong !== undefined) throw this.#noQmp();
      const what = typeof request.execute === 'string' ? request.execute : 'what it was sent';
      throw new UsageError(
        `${this.peer} has closed the connection without an answer to ${what}: it may have done it`,
      );
    }
    if (reply.error !== undefined) {
      throw new RefusedError(reply.error.desc, reply.error.class as RefusedError['errorClass']);
    }
    return reply.return;
  }

  /** Resolves when the daemon has gone, or after `close`; rejects when it was no QMP server. */
  get closed(): Promise<void> {
    return this.#connection.closed.then(() => {
      if (this.#wrong !== undefined) throw this.#noQmp();
    });
  }

  close(): void {
    this.#connection.destroy();
  }

  #receive(text: string): void {
    if (this.#ended) return;
    const lines = (this.#unread + text).split('\n');
    this.#unread = lines.pop()!;
    for (const line of lines) {
      if (line.trim() === '') continue;
      const message = readMessage(line);
      if (message === undefined) {
        this.#giveUp(line);
        return;
      }
      if (message.event !== undefined) this.#onEvent(message as QmpEvent);
      else if (this.#waiter !== undefined) this.#deliver(message);
      else this.#messages.push(message);
    }
    // Who speaks another protocol may wait for us to say something, and never end the line.
    if (!MAY_BECOME_OBJECT.test(this.#unread)) this.#giveUp(this.#unread);
  }

  #giveUp(wrong: string): void {
    this.#wrong = wrong.trim().slice(0, WRONG_SHOWN_CHARACTERS);
    this.close();
    this.#end();
  }

  #noQmp(): UsageError {
    const { peer } = this.#connection;
    if (this.#isSilent) {
      return new UsageError(
        `${peer} has not greeted us within ${GREETING_TIMEOUT_MS / 1000} s: it hangs, does not ` +
          'speak QMP, or has as many QMP clients as it takes',
      );
    }
    const what = this.#wrong === undefined ? '' : `: it sent ${JSON.stringify(this.#wrong)}`;
    return new UsageError(`${peer} does not speak QMP${what}`);
  }

  #next(): Promise<Message | undefined> {
    const message = this.#messages.shift();
    if (message !== undefined || this.#ended) return Promise.resolve(message);
    return new Promise((resolve) => {
      this.#waiter = resolve;
    });
  }

  #deliver(message: Message | undefined): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.(message);
  }

  #end(): void {
    this.#ended = true;
    this.#deliver(undefined);
  }
}

async function connect(endpoint: Endpoint, clock: Clock, token?: string): Promise<Transport> {
  const options = { clock, timeoutMs: DIAL_TIMEOUT_MS };
  if (!endpoint.webSocket) return dial(endpoint.address, options);
  const messageBytesMax = QMP_MESSAGE_BYTES_MAX;
  const { dialWebSocket } = await import('../net/web-socket-dial.ts');
  return dialWebSocket(endpoint.address, { ...options, messageBytesMax, token });
}

/** Undefined for what is no message: then it is no QMP server either. */
function readMessage(line: string): Message | undefined {
  const value = parse(line);
  if (!isObject(value)) return undefined;
  if ('error' in value) {
    const { error } = value;
    return isObject(error) && typeof error['desc'] === 'string' ? (value as Message) : undefined;
  }
  return KINDS.some((kind) => kind in value) ? (value as Message) : undefined;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
