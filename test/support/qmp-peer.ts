import { connect, type Socket } from 'node:net';

/** One message of the wire, parsed. */
export type Message = Record<string, unknown>;

/** A QMP client for tests: raw text in, whatever comes back out, events kept in order. */
export class QmpPeer {
  readonly events: Message[] = [];
  greeting: Message = {};
  /** Resolves when the server has let us go. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #replies: Message[] = [];
  #unread = '';
  #waiters: (() => void)[] = [];
  #ended = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data) => this.#receive(data.toString('latin1')));
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#ended = true;
        this.#wake();
        resolve();
      });
    });
    socket.on('error', () => {});
  }

  /** Resolves when the greeting is here: it is the first reply. */
  static async connect(path: string): Promise<QmpPeer> {
    const peer = new QmpPeer(connect({ path }));
    peer.greeting = await peer.reply();
    return peer;
  }

  send(what: string | object): void {
    this.#socket.write(typeof what === 'string' ? what : `${JSON.stringify(what)}\n`);
  }

  /** Sends a command; its reply. */
  execute(command: string, given?: object): Promise<Message> {
    this.send({ execute: command, ...(given && { arguments: given }) });
    return this.reply();
  }

  /** The next message that is no event. */
  async reply(): Promise<Message> {
    await this.#until(() => this.#replies.length > 0);
    return this.#replies.shift()!;
  }

  /** The first event of this name for which `match` holds, past or to come. */
  async event(name: string, match: (data: Message) => boolean = () => true): Promise<Message> {
    const find = () =>
      this.events.find((one) => one['event'] === name && match(one['data'] as Message));
    await this.#until(() => find() !== undefined);
    return find()!;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #until(seen: () => boolean): Promise<void> {
    while (!seen()) {
      if (this.#ended) throw new Error('the QMP server has closed the connection');
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }

  #receive(text: string): void {
    const lines = (this.#unread + text).split('\r\n');
    this.#unread = lines.pop()!;
    for (const line of lines) {
      const message = JSON.parse(line) as Message;
      (message['event'] === undefined ? this.#replies : this.events).push(message);
    }
    this.#wake();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
