/**
 * Work that has begun and not ended, told apart by when it began: `settled` waits for what has
 * begun by now, whatever begins later. Nothing is kept for a piece of work: it is only counted.
 */
export class InFlight {
  #current = new Generation();
  /** Resolves when every earlier generation has ended. */
  #earlier = Promise.resolve();

  /** Work begins; call `end` of the result, once, when it has ended. */
  begin(): Generation {
    this.#current.unfinished++;
    return this.#current;
  }

  /** Resolves when all that has begun by now has ended. */
  settled(): Promise<void> {
    const closing = this.#current;
    if (closing.unfinished > 0) {
      this.#current = new Generation();
      const over = closing.over();
      this.#earlier = this.#earlier.then(() => over);
    }
    return this.#earlier;
  }
}

/** What began between two calls of `settled`. */
export class Generation {
  unfinished = 0;
  #onOver: (() => void) | undefined;

  end(): void {
    if (--this.unfinished === 0) this.#onOver?.();
  }

  over(): Promise<void> {
    return new Promise((resolve) => {
      this.#onOver = resolve;
    });
  }
}
