import type { MonitorConnection } from '../../src/monitor/session.ts';
import type { ByteSink } from '../../src/net/incoming.ts';

/** The other end of a monitor's connection, in memory: what it is sent, and what it sends. */
export class FakeConnection implements MonitorConnection {
  readonly peer = 'test';
  readonly closed: Promise<Error | undefined>;
  /** Every message received, parsed. */
  readonly received: Record<string, unknown>[] = [];
  isClosed = false;
  isPaused = false;
  /** What a peer that does not read leaves behind. */
  reads = true;
  unsentBytes = 0;
  #sink: ByteSink | undefined;
  #close: (value: undefined) => void = () => {};

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  /** Bytes from the client, and time for the monitor to answer. */
  async send(...chunks: (string | Buffer)[]): Promise<void> {
    for (const chunk of chunks) this.#sink!.push(Buffer.from(chunk as string));
    await settle();
  }

  async sendEnd(): Promise<void> {
    this.#sink!.end();
    await settle();
  }

  takeOver(sink: ByteSink): void {
    this.#sink = sink;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  write(data: Buffer): boolean {
    if (!this.reads) this.unsentBytes += data.length;
    const text = data.toString('latin1');
    if (!/^[\r\n -~]*\r\n$/.test(text)) throw new Error(`no line of ASCII: ${text}`);
    this.received.push(JSON.parse(text) as Record<string, unknown>);
    return this.reads;
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    this.isClosed = true;
    this.#close(undefined);
  }
}

/** Time for everything that only waits for promises. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
