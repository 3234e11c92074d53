import { assert } from '../util/assert.ts';
import type { BlockError } from '../util/errors.ts';

/** Holds back requests that have not begun, until somebody opens it or turns them away. */
export class Gate {
  #closed: Promise<void> | undefined;
  #letIn = () => {};
  #refuse = (_reason: BlockError) => {};

  /**
   * What to wait for, and then to ask again; undefined while it is open. Rejects for who is turned
   * away.
   */
  get closed(): Promise<void> | undefined {
    return this.#closed;
  }

  close(): void {
    assert(this.#closed === undefined, 'one drain at a time');
    this.#hold();
  }

  open(): void {
    this.#closed = undefined;
    this.#letIn();
  }

  /** Who waits by now fails with `reason`; it stays closed. */
  turnAway(reason: BlockError): void {
    if (this.#closed === undefined) return;
    const refuse = this.#refuse;
    this.#hold();
    refuse(reason);
  }

  #hold(): void {
    this.#closed = new Promise((resolve, reject) => {
      this.#letIn = resolve;
      this.#refuse = reject;
    });
    // Nobody may be waiting.
    this.#closed.catch(() => {});
  }
}
