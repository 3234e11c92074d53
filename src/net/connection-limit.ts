import { LISTEN_WAITING_MAX } from '../util/limits.ts';

/**
 * How many connections are served at a time, over all listeners that share this. At the limit the
 * next peers are connected but hear nothing until somebody leaves, as they would in the system's
 * own queue, which Node cannot leave them in.
 */
export class ConnectionLimit {
  readonly #max: number;
  readonly #waiting: (() => Promise<unknown>)[] = [];
  #served = 0;

  /** Infinity for no bound. */
  constructor(max: number) {
    this.#max = max;
  }

  /**
   * Runs `serve` now or when it is its turn; what it returns resolves when the connection is gone.
   * Returns false, and forgets it, when too many wait already.
   */
  admit(serve: () => Promise<unknown>): boolean {
    if (this.#served < this.#max) {
      void this.#run(serve);
      return true;
    }
    if (this.#waiting.length === LISTEN_WAITING_MAX) return false;
    this.#waiting.push(serve);
    return true;
  }

  async #run(serve: () => Promise<unknown>): Promise<void> {
    this.#served++;
    await serve();
    this.#served--;
    const next = this.#waiting.shift();
    if (next !== undefined) void this.#run(next);
  }
}
