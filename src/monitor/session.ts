import {
  errorReply,
  greeting,
  idOf,
  isOutOfBand,
  type Request,
  readRequest,
  successReply,
  type Version,
} from '../../protocol/qmp/envelope.ts';
import { QmpError } from '../../protocol/qmp/error.ts';
import type { Json } from '../../protocol/qmp/json-builder.ts';
import { writeLine } from '../../protocol/qmp/json-writer.ts';
import { MessageStream } from '../../protocol/qmp/message-stream.ts';
import type { ByteSink } from '../net/incoming.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { Fifo } from '../util/fifo.ts';
import {
  QMP_MESSAGE_BYTES_MAX,
  QMP_NESTING_MAX,
  QMP_QUEUE_MAX,
  QMP_STRANGER_BYTES_MAX,
  QMP_STRANGER_FAILURES_MAX,
  QMP_TOKENS_MAX,
  QMP_TURN_MESSAGES_MAX,
  QMP_UNSENT_BYTES_MAX,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { readCapabilities } from './capabilities.ts';
import type { Token } from './token.ts';

/**
 * One client of the monitor: greeting, negotiation, then its commands one after the other, answered
 * in order, with events in between. While a command runs nothing more is read from this client, so
 * that what waits is bounded; other clients go on. A client that has enabled `oob` may have a few
 * commands waiting, and is read from meanwhile: what it sends with `exec-oob` overtakes them. After
 * a few messages that came together others have their turn.
 *
 * A client that does not read is closed: it must not make us keep, or lose in silence, what it was
 * to be told. Where a token is needed, a client that has not shown it is a stranger: it is greeted,
 * may get `qmp_capabilities` wrong a few times, and learns nothing else.
 */

/** What a session needs of a socket or a WebSocket. */
export interface MonitorConnection {
  /** Who is at the other end, for the log. */
  readonly peer: string;
  /** Resolves when the connection is gone. */
  readonly closed: Promise<unknown>;
  readonly isClosed: boolean;
  /** Bytes that `write` took and the system did not yet. */
  readonly unsentBytes: number;
  /** Hands what arrives to `sink`. */
  takeOver(sink: ByteSink): void;
  /** Stops reading, so that the peer is held back. What has been read may still come. */
  pause(): void;
  resume(): void;
  /** Sends one message, a line with its end. */
  write(line: Buffer): unknown;
  /** Sends what is unsent and ends. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface SessionOptions {
  readonly version: Version;
  /** Runs a command; rejects with `QmpError` when it is refused. */
  readonly execute: (command: string, given: object, outOfBand: boolean) => Promise<unknown>;
  /** What the client must show; without it everybody is trusted. */
  readonly token?: Token | undefined;
  /**
   * A browser may be at the other end: any page can have it send a request to any port, with a body
   * that is QMP. No message begins with a capital letter, and every HTTP request does. Nor does one
   * begin as TLS does, which carries what a server made up, a ticket: that may be QMP as well.
   */
  readonly mayBeBrowser?: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

type Input = { readonly message: Json } | { readonly malformed: string };

export class QmpSession {
  readonly #connection: MonitorConnection;
  readonly #options: SessionOptions;
  /** What has been read, not looked at yet: messages that came together. */
  readonly #arrived = new Fifo<Input>();
  /** Commands in band whose turn will come. */
  readonly #queue: Input[] = [];
  /** Somebody is at work on the queue. */
  #inBand = false;
  /** Commands that have begun, in band or out of it. */
  #running = 0;
  #negotiated = false;
  #oobEnabled = false;
  #isTrusted: boolean;
  #strangerBytes = 0;
  #hasSpoken = false;
  #strangerFailures = 0;
  /** Of what arrived, since others had their turn. */
  #takenThisTurn = 0;
  #turn: Timer | undefined;
  #peerEnded = false;
  #ended = false;

  constructor(connection: MonitorConnection, options: SessionOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#isTrusted = options.token === undefined;
    const stream = new MessageStream(
      {
        message: (message) => this.#arrived.push({ message }),
        malformed: (malformed) => this.#arrived.push({ malformed }),
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
        if (this.#admit(chunk)) {
          this.#takenThisTurn = 0;
          stream.push(chunk);
          this.#serve();
        }
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

  /** The client has shown the token, or need not. */
  get isTrusted(): boolean {
    return this.#isTrusted;
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

  /**
   * No browser is listened to, and a stranger may not make us hold more than its few words need.
   */
  #admit(chunk: Buffer): boolean {
    const begins = !this.#hasSpoken;
    this.#hasSpoken = true;
    if (begins && this.#options.mayBeBrowser && isBrowsers(chunk[0]!)) {
      this.#options.log.warn({ peer: this.#connection.peer }, 'HTTP or TLS is not QMP: closed');
      this.#connection.destroy();
      return false;
    }
    if (this.#isTrusted) return true;
    this.#strangerBytes += chunk.length;
    if (this.#strangerBytes <= QMP_STRANGER_BYTES_MAX) return true;
    this.#connection.destroy();
    return false;
  }

  /** Takes what has arrived as far as there is room; then reads on, waits, or is done. */
  #serve(): void {
    while (this.#hasRoom && this.#arrived.length > 0) this.#take(this.#arrived.shift()!);
    if (this.#ended) return;
    if (this.#takenThisTurn >= QMP_TURN_MESSAGES_MAX) this.#letOthersIn();
    if (!this.#hasRoom) this.#connection.pause();
    else if (!this.#peerEnded) this.#connection.resume();
    else if (this.#running === 0 && this.#queue.length === 0) this.end();
  }

  #letOthersIn(): void {
    this.#turn ??= this.#options.clock.defer(() => {
      this.#turn = undefined;
      this.#takenThisTurn = 0;
      this.#serve();
    });
  }

  get #hasRoom(): boolean {
    if (this.#ended || this.#takenThisTurn >= QMP_TURN_MESSAGES_MAX) return false;
    if (this.#oobEnabled) return this.#queue.length < QMP_QUEUE_MAX;
    return this.#running === 0 && this.#queue.length === 0;
  }

  #take(input: Input): void {
    this.#takenThisTurn++;
    if (this.#oobEnabled && 'message' in input && isOutOfBand(input.message)) {
      void this.#run(input);
      return;
    }
    this.#queue.push(input);
    if (!this.#inBand) void this.#runQueue();
  }

  async #runQueue(): Promise<void> {
    this.#inBand = true;
    for (let input = this.#queue.shift(); input !== undefined; input = this.#queue.shift()) {
      const done = this.#run(input);
      this.#serve(); // There is room for one more.
      await done;
    }
    this.#inBand = false;
  }

  /** Rejects only on a bug of ours, which must end the process. */
  async #run(input: Input): Promise<void> {
    this.#running++;
    this.#send(await this.#answer(input));
    this.#running--;
    if (!this.#isTrusted && 'malformed' in input) this.#strangerFailures++;
    if (this.#strangerFailures >= QMP_STRANGER_FAILURES_MAX) this.end();
    this.#serve();
  }

  async #answer(input: Input): Promise<object> {
    if ('malformed' in input) return errorReply(new QmpError(input.malformed), undefined);
    const id = idOf(input.message);
    try {
      const request = readRequest(input.message, { oobEnabled: this.#oobEnabled });
      return successReply(await this.#execute(request), id);
    } catch (error) {
      if (error instanceof QmpError) return errorReply(error, id);
      throw error;
    }
  }

  async #execute(request: Request): Promise<unknown> {
    if (request.command === 'qmp_capabilities' && !request.outOfBand) {
      this.#negotiate(request.arguments);
      return {};
    }
    if (!this.#negotiated) {
      const desc = "Expecting capabilities negotiation with 'qmp_capabilities'";
      throw new QmpError(desc, 'CommandNotFound');
    }
    return this.#options.execute(request.command, request.arguments, request.outOfBand);
  }

  #negotiate(given: object): void {
    const { oob, token } = readCapabilities(given, this.#negotiated);
    if (!this.#isTrusted && !this.#options.token!.matches(token)) {
      this.#strangerFailures++;
      const { peer } = this.#connection;
      this.#options.log.warn({ peer }, 'QMP client without the token');
      throw new QmpError("This monitor takes its token as 'x-token' of qmp_capabilities");
    }
    this.#isTrusted = true;
    this.#negotiated = true;
    this.#oobEnabled = oob;
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

/** The type of the record that a TLS client begins with. */
const TLS_HANDSHAKE = 0x16;

/** A capital letter, as in `POST`, or TLS. */
function isBrowsers(firstByte: number): boolean {
  return (firstByte >= 0x41 && firstByte <= 0x5a) || firstByte === TLS_HANDSHAKE;
}
