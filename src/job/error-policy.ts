import type { Errno } from '../util/errors.ts';

/** What a job does about an I/O error of its own (QMP BlockdevOnError). */
export type OnError = 'report' | 'ignore' | 'enospc' | 'stop' | 'auto';
export type ErrorAction = 'report' | 'ignore' | 'stop';

/** What an operator is told of it. */
export const CONSEQUENCE: Record<ErrorAction, string> = {
  report: 'the mirror fails',
  ignore: 'the mirror tries again',
  stop: 'the mirror is stopped until job-resume',
};

/** `auto` is `enospc` for jobs. */
export function actionFor(policy: OnError, code: Errno): ErrorAction {
  switch (policy) {
    case 'report':
    case 'ignore':
    case 'stop':
      return policy;
    case 'enospc':
    case 'auto':
      return code === 'ENOSPC' ? 'stop' : 'report';
  }
}

/**
 * `ignore` retries, but not at once and not for ever at the same rate (QEMU's spins): the pause
 * doubles with every error in a row and falls back when something was copied.
 */
const BACK_OFF_MS_MIN = 10;
const BACK_OFF_MS_MAX = 5000;

export class BackOff {
  #delayMs = 0;
  #until = 0;

  /** Returns whether the pause begins: copies that were in flight together fail together. */
  failed(now: number): boolean {
    if (now < this.#until) return false;
    this.#delayMs = Math.min(Math.max(this.#delayMs * 2, BACK_OFF_MS_MIN), BACK_OFF_MS_MAX);
    this.#until = now + this.#delayMs;
    return true;
  }

  succeeded(): void {
    this.#delayMs = 0;
  }

  remainingMs(now: number): number {
    return Math.max(0, this.#until - now);
  }
}
