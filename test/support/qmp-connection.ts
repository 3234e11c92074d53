import { createConnection, type Socket } from 'node:net';
import type { CommandName, Returns } from '../../protocol/qmp/schema.ts';

/** A QMP client for tests, of our daemon and of QEMU's: replies in order, events kept. */
export interface QmpEvent {
  readonly event: string;
  readonly data: Record<string, unknown>;
}

export interface QmpFailure {
  readonly class: string;
  readonly desc: string;
}

interface Message {
  readonly QMP?: object;
  readonly event?: string;
  readonly return?: unknown;
  readonly error?: QmpFailure;
}

export class QmpConnection {
  readonly events: QmpEvent[] = [];
  readonly #socket: Socket;
  #unread = '';
  #waiters: ((message: Message) => void)[] = [];
  readonly #watchers = new Set<() => void>();
  readonly #ended: Promise<never>;

  static async connect(path: string): Promise<QmpConnection> {
    const connection = new QmpConnection(createConnection({ path }));
    await connection.#reply();
    await connection.execute('qmp_capabilities');
    return connection;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      const lines = (this.#unread + text).split('\n');
      this.#unread = lines.pop()!;
      for (const line of lines) if (line.trim() !== '') this.#take(JSON.parse(line) as Message);
    });
    socket.on('error', () => {});
    this.#ended = new Promise((_, reject) => {
      socket.on('close', () => reject(new Error('the QMP server has closed the connection')));
    });
    this.#ended.catch(() => {});
  }

  /** The command's `return`; throws its error's sentence. */
  async execute<Name extends CommandName>(command: Name, given?: object): Promise<Returns<Name>> {
    const reply = await this.request(command, given);
    if (reply.error !== undefined) throw new Error(`${command}: ${reply.error.desc}`);
    return reply.return as Returns<Name>;
  }

  /** The whole reply, an error included. */
  async request(command: string, given?: object): Promise<Message> {
    const reply = this.#reply();
    this.#socket.write(
      `${JSON.stringify({ execute: command, ...(given && { arguments: given }) })}\n`,
    );
    return reply;
  }

  /** The first event of this name (and with these data), also if it has come already. */
  event(name: string, data: Record<string, unknown> = {}): Promise<QmpEvent> {
    const told = new Promise<QmpEvent>((resolve) => {
      const look = () => {
        const found = this.events.find(
          (event) =>
            event.event === name &&
            Object.entries(data).every(([key, value]) => event.data[key] === value),
        );
        if (found === undefined) return;
        this.#watchers.delete(look);
        resolve(found);
      };
      this.#watchers.add(look);
      look();
    });
    return this.#unlessEnded(told);
  }

  close(): void {
    this.#socket.destroy();
  }

  #reply(): Promise<Message> {
    const reply = new Promise<Message>((resolve) => this.#waiters.push(resolve));
    return this.#unlessEnded(reply);
  }

  /** Nobody has to wait for it: it may be the test that ends the connection. */
  #unlessEnded<T>(coming: Promise<T>): Promise<T> {
    const first = Promise.race([coming, this.#ended]);
    first.catch(() => {});
    return first;
  }

  #take(message: Message): void {
    if (message.event === undefined) {
      this.#waiters.shift()?.(message);
      return;
    }
    this.events.push(message as unknown as QmpEvent);
    for (const watcher of this.#watchers) watcher();
  }
}
