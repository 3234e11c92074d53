import { constants } from 'node:os';
import koffi, { type LibraryHandle } from 'koffi';
import { SYSCALLS_IN_FLIGHT_MAX } from '../util/limits.ts';
import { systemError } from './system-error.ts';

type ForeignFunction = ReturnType<LibraryHandle['func']>;

/**
 * Foreign calls in libuv's thread pool, a bounded number at a time: koffi refuses the 257th, and
 * each holds a stack of its own while it waits for one of the pool's few threads.
 */
export class AsyncCalls {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /**
   * Calls `target` and resolves with its result; rejects with the errno when that is negative.
   * Interrupted calls are made again. The memory of the arguments stays alive until then.
   */
  run(target: ForeignFunction, parameters: readonly unknown[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const start = () => {
        this.#running++;
        target.async(...parameters, (failure: Error | null, result: number) => {
          const errno = result < 0 ? koffi.errno() : 0;
          this.#running--;
          if (errno === constants.errno.EINTR) this.#waiting.unshift(start);
          else if (failure !== null) reject(failure);
          else if (result < 0) reject(systemError(target.info.name, errno));
          else resolve(result);
          this.#waiting.shift()?.();
        });
      };
      if (this.#running < SYSCALLS_IN_FLIGHT_MAX) start();
      else this.#waiting.push(start);
    });
  }
}
