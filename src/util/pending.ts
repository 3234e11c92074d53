import { assert } from './assert.ts';

/**
 * Work that has begun and not ended. It can be awaited as a promise can; but whoever watches it is
 * told at once when it succeeds, in the order in which they came, without a microtask, and all of
 * it is one object: a promise, its two functions and a reaction for everybody who asks are ten.
 * Who awaits it is told after them.
 *
 * A failure is told in a microtask of its own. Failures are rare, and what they lead to (a job that
 * ends, a connection that is given up) must not come in the middle of what has found them.
 */
export interface Watcher {
  /** Called once; `failure` is undefined if all went well. */
  onEnd(failure: unknown): void;
}

export class Pending implements Promise<undefined> {
  /**
   * Whether the memory that the work was given (data to write, or room to read into) is needed when
   * it has begun, and so until it ends. Set once, by whoever begins it.
   */
  keepsData = true;
  #watcher: Watcher | undefined;
  #hasEnded = false;
  #failure: unknown;
  /** A failure that nobody watched for: Node tells of it unless somebody comes soon. */
  #unseen: Promise<void> | undefined;

  get [Symbol.toStringTag](): string {
    return 'Pending';
  }

  succeed(): void {
    this.#end(undefined);
  }

  /** Later: what succeeds in between is told first. */
  fail(reason: unknown): void {
    queueMicrotask(() => this.#end(reason));
  }

  watch(watcher: Watcher): void {
    if (this.#hasEnded) {
      this.#unseen?.catch(() => {});
      watcher.onEnd(this.#failure);
    } else if (this.#watcher === undefined) this.#watcher = watcher;
    else this.#watcher = new Both(this.#watcher, watcher);
  }

  // biome-ignore lint/suspicious/noThenProperty: `await` must wait for it, as for a promise.
  then<A = undefined, B = never>(
    onDone?: ((value: undefined) => A | PromiseLike<A>) | null,
    onFailed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#asPromise().then(onDone, onFailed);
  }

  catch<B = never>(
    onFailed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<undefined | B> {
    return this.#asPromise().catch(onFailed);
  }

  finally(onEnded?: (() => void) | null): Promise<undefined> {
    return this.#asPromise().finally(onEnded);
  }

  #asPromise(): Promise<undefined> {
    return new Promise((resolve, reject) => {
      this.watch({
        onEnd(failure) {
          if (failure === undefined) resolve(undefined);
          else reject(failure);
        },
      });
    });
  }

  #end(failure: unknown): void {
    assert(!this.#hasEnded, 'work ends once');
    this.#hasEnded = true;
    this.#failure = failure;
    if (this.#watcher !== undefined) this.#watcher.onEnd(failure);
    else if (failure !== undefined) this.#unseen = Promise.reject(failure);
  }
}

class Both implements Watcher {
  readonly #first: Watcher;
  readonly #second: Watcher;

  constructor(first: Watcher, second: Watcher) {
    this.#first = first;
    this.#second = second;
  }

  onEnd(failure: unknown): void {
    this.#first.onEnd(failure);
    this.#second.onEnd(failure);
  }
}

/** Whether the memory that the work was given is in use; as long as a promise lasts it is. */
export function keepsData(work: Promise<void>): boolean {
  return !(work instanceof Pending) || work.keepsData;
}

/** Tells `watcher` of the end of `work`, whichever of the two it is. */
export function watch(work: Promise<void>, watcher: Watcher): void {
  if (work instanceof Pending) work.watch(watcher);
  else {
    work.then(
      () => watcher.onEnd(undefined),
      (failure: unknown) => watcher.onEnd(failure),
    );
  }
}
