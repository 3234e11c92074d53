import { type ClientOptions, WebSocket } from 'ws';
import type { Message } from './qmp-peer.ts';

/** A QMP client over WebSocket for tests: frames in, frames out, events kept in order. */
export class WebSocketPeer {
  readonly events: Message[] = [];
  /** Every frame received, as text. */
  readonly frames: string[] = [];
  /** The code with which the WebSocket was closed. */
  readonly closeCode: Promise<number>;
  readonly socket: WebSocket;
  readonly #replies: Message[] = [];
  #wake = () => {};

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (frame: Buffer) => this.#receive(frame.toString('latin1')));
    this.closeCode = new Promise((resolve) => {
      socket.once('close', (code) => resolve(code));
    });
  }

  /** Resolves when the greeting is here; rejects with what the server answers instead. */
  static async connect(
    port: number,
    options: ClientOptions & { readonly protocols?: string[] } = {},
  ): Promise<WebSocketPeer> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, options.protocols ?? [], options);
    const peer = new WebSocketPeer(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', () => resolve());
      socket.on('error', reject);
    });
    await peer.reply();
    return peer;
  }

  send(frame: string | Buffer): void {
    this.socket.send(frame);
  }

  /** Sends a command; its reply. */
  execute(command: string, given?: object): Promise<Message> {
    this.send(JSON.stringify({ execute: command, ...(given && { arguments: given }) }));
    return this.reply();
  }

  /** The next message that is no event. */
  async reply(): Promise<Message> {
    for (;;) {
      const reply = this.#replies.shift();
      if (reply !== undefined) return reply;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #receive(frame: string): void {
    this.frames.push(frame);
    const message = JSON.parse(frame) as Message;
    (message['event'] === undefined ? this.#replies : this.events).push(message);
    this.#wake();
  }
}
