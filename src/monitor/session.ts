import {
  errorReply,
  greeting,
  idOf,
  type Request,
  readRequest,
  successReply,
  type Version,
} from '../../protocol/qmp/envelope.ts';
import { QmpError } from '../../protocol/qmp/error.ts';
import type { Json } from '../../protocol/qmp/json-builder.ts';
import { writeLine } from '../../protocol/qmp/json-writer.ts';
import { MessageStream } from '../../protocol/qmp/message-stream.ts';
import type { Connection } from '../net/connection.ts';
import {
  QMP_MESSAGE_BYTES_MAX,
  QMP_NESTING_MAX,
  QMP_TOKENS_MAX,
  QMP_UNSENT_BYTES_MAX,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { checkCapabilities } from './capabilities.ts';

/**
 * One client of the monitor: greeting, negotiation, then its commands one after the other, answered
 * in order, with events in between. While a command runs nothing more is read from this client, so
 * that what waits is bounded; other clients go on. A client that does not read is closed: it must
 * not make us keep, or lose in silence, what it was to be told.
 */
export type MonitorConnection = Pick<
  Connection,
  | 'peer'
  | 'closed'
  | 'isClosed'
  | 'unsentBytes'
  | 'takeOver'
  | 'pause'
  | 'resume'
  | 'write'
  | 'end'
  | 'destroy'
>;

export interface SessionOptions {
  readonly version: Version;
  /** Runs a command; rejects with `QmpError` when it is refused. */
  readonly execute: (command: string, given: object) => Promise<unknown>;
  readonly log: Log;
}

type Input = { readonly message: Json } | { readonly malformed: string };

export class QmpSession {
  readonly #connection: MonitorConnection;
  readonly #options: SessionOptions;
  readonly #input: Input[] = [];
  #busy = false;
  #negotiated = false;
  #peerEnded = false;
  #ended = false;

  constructor(connection: MonitorConnection, options: SessionOptions) {
    this.#connection = connection;
    this.#options = options;
    const stream = new MessageStream(
      {
        message: (message) => this.#input.push({ message }),
        malformed: (malformed) => this.#input.push({ malformed }),
      },
      {
        messageBytesMax: QMP_MESSAGE_BYTES_MAX,
        tokensMax: QMP_TOKENS_MAX,
        nestingMax: QMP_NESTING_MAX,
      },
    );
    this.#send(greeting(options.version));
    connection.takeOver({
      push: (chunk) => {
        stream.push(chunk);
        this.#serve();
        return false;
      },
      room: () => undefined,
      filled() {},
      end: () => {
        this.#peerEnded = true;
        this.#serve();
      },
    });
  }

  /** Sends an event, written out, unless this client has not negotiated yet. */
  notify(line: Buffer): void {
    if (this.#negotiated) this.#write(line);
  }

  /** Sends what is unsent and ends. */
  end(): void {
    this.#ended = true;
    this.#connection.end();
  }

  #serve(): void {
    if (this.#busy) return;
    this.#busy = true;
    // Rejects only on a bug of ours, which must end the process.
    void this.#answerAll();
  }

  async #answerAll(): Promise<void> {
    this.#connection.pause();
    for (let input = this.#input.shift(); input !== undefined; input = this.#input.shift()) {
      this.#send(await this.#answer(input));
    }
    this.#busy = false;
    if (this.#peerEnded) this.end();
    else this.#connection.resume();
  }

  async #answer(input: Input): Promise<object> {
    if ('malformed' in input) return errorReply(new QmpError(input.malformed), undefined);
    const id = idOf(input.message);
    try {
      return successReply(await this.#execute(readRequest(input.message)), id);
    } catch (error) {
      if (error instanceof QmpError) return errorReply(error, id);
      throw error;
    }
  }

  async #execute(request: Request): Promise<unknown> {
    if (request.command === 'qmp_capabilities') {
      checkCapabilities(request.arguments, this.#negotiated);
      this.#negotiated = true;
      return {};
    }
    if (!this.#negotiated) {
      const desc = "Expecting capabilities negotiation with 'qmp_capabilities'";
      throw new QmpError(desc, 'CommandNotFound');
    }
    return this.#options.execute(request.command, request.arguments);
  }

  #send(message: object): void {
    this.#write(Buffer.from(writeLine(message), 'latin1'));
  }

  #write(line: Buffer): void {
    if (this.#ended || this.#connection.isClosed) return;
    if (this.#connection.unsentBytes <= QMP_UNSENT_BYTES_MAX) {
      this.#connection.write(line);
      return;
    }
    const { peer, unsentBytes } = this.#connection;
    this.#options.log.warn({ peer, unsentBytes }, 'QMP client does not read: closing it');
    this.#connection.destroy();
  }
}
