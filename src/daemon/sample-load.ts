import { NbdClient } from '../nbd-client/nbd-client.ts';
import type { SocketAddress } from '../net/address.ts';
import { sleep, systemClock } from '../util/clock.ts';
import { KiB } from '../util/limits.ts';

/**
 * A little load for demonstrations: 4 KiB writes at a steady rate to random places of a region of
 * an export, as any client sends them.
 */
const WRITE_BYTES = 4 * KiB;

export interface LoadOptions {
  readonly address: SocketAddress;
  readonly offset: number;
  readonly length: number;
  readonly writesPerSecond: number;
}

export class SampleLoad {
  /** Writes that were answered. */
  writes = 0;
  readonly #client: NbdClient;
  readonly #done: Promise<void>;
  /** Rejects when a write fails; does not end otherwise. */
  readonly failed: Promise<never>;
  #running = true;

  static async start(options: LoadOptions): Promise<SampleLoad> {
    const client = await NbdClient.connect({
      address: options.address,
      exportName: '',
      clock: systemClock,
    });
    return new SampleLoad(client, options);
  }

  private constructor(client: NbdClient, options: LoadOptions) {
    this.#client = client;
    this.#done = this.#run(options);
    this.failed = this.#done.then(() => new Promise<never>(() => {}));
  }

  /** Ends the load; resolves when the last write has been answered. Can be called again. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run({ offset, length, writesPerSecond }: LoadOptions): Promise<void> {
    const data = Buffer.alloc(WRITE_BYTES);
    const places = Math.floor(length / WRITE_BYTES);
    while (this.#running) {
      data.fill(1 + (this.writes % 255));
      const place = Math.floor(Math.random() * places);
      await this.#client.write(offset + place * WRITE_BYTES, data);
      this.writes++;
      await sleep(systemClock, 1000 / writesPerSecond);
    }
    await this.#client.close();
  }
}
