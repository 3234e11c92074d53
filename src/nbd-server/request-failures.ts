import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';

/**
 * What an operator hears of the failed requests of an export's clients. A disk that fails does so
 * thousands of times a second: the first is told, then one in ten seconds, with how many there were
 * in between.
 */
const PAUSE_MS = 10_000;

export class RequestFailures {
  readonly #clock: Clock;
  readonly #exportId: string;
  #tellAt = Number.NEGATIVE_INFINITY;
  #passedOver = 0;

  constructor(clock: Clock, exportId: string) {
    this.#clock = clock;
    this.#exportId = exportId;
  }

  /** `log`: of the client. */
  add(log: Log, code: string, message: string): void {
    log.debug({ code }, message);
    const now = this.#clock.now();
    if (now < this.#tellAt) {
      this.#passedOver++;
      return;
    }
    const more = this.#passedOver > 0 && { moreSinceTheLast: this.#passedOver };
    log.warn({ export: this.#exportId, code, ...more }, `a client's request failed: ${message}`);
    this.#tellAt = now + PAUSE_MS;
    this.#passedOver = 0;
  }
}
