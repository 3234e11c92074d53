import { InFlight } from '../util/in-flight.ts';

/**
 * Many flushes at a time with as few calls as are honest: a flush that arrives while one is running
 * may have come after a write that the running one has not seen, so it needs a new one, which all
 * that wait by then share.
 *
 * After one failure every later flush fails: the kernel reports a lost page once and then calls it
 * clean, so a success after that would be untrue. Durable writes sync as well: whoever of the two
 * is told of the page, it is known to both.
 */
interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

export class SharedFlush {
  readonly #sync: () => Promise<void>;
  #waiting: Waiter[] = [];
  #running = false;
  readonly #carried = new InFlight();
  #failure: { readonly error: unknown } | undefined;

  /** `sync` puts on stable storage what was written before it was called. */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  /** A durable write on its way; `tellsOfLoss`: an error that may be about what was before it. */
  async carry(
    write: Promise<void>,
    tellsOfLoss: (code: unknown) => boolean | Promise<boolean>,
  ): Promise<void> {
    const carried = this.#carried.begin();
    try {
      await write;
    } catch (error) {
      if (await tellsOfLoss((error as NodeJS.ErrnoException).code)) this.#failure ??= { error };
      throw error;
    } finally {
      carried.end();
    }
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length !== 0) {
      const served = this.#waiting;
      this.#waiting = [];
      await this.#serve(served);
    }
    this.#running = false;
  }

  async #serve(waiters: readonly Waiter[]): Promise<void> {
    try {
      this.#assertNothingLost();
      await this.#sync();
      await this.#carried.settled();
      this.#assertNothingLost();
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      this.#failure ??= { error };
      for (const waiter of waiters) waiter.reject(error);
    }
  }

  #assertNothingLost(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
