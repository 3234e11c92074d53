/**
 * Many flushes at a time with as few calls as are honest: a flush that arrives while one is running
 * may have come after a write that the running one has not seen, so it needs a new one, which all
 * that wait by then share.
 *
 * After one failure every later flush fails: the kernel reports a lost page once and then calls it
 * clean, so a success after that would be untrue.
 */
interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

export class SharedFlush {
  readonly #sync: () => Promise<void>;
  #waiting: Waiter[] = [];
  #running = false;
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
      if (this.#failure !== undefined) throw this.#failure.error;
      await this.#sync();
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      this.#failure ??= { error };
      for (const waiter of waiters) waiter.reject(error);
    }
  }
}
