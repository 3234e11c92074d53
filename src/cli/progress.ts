import { formatBytes, formatGuess, formatSeconds } from '../util/units.ts';

/**
 * How far a mirror is, in the words that Proxmox's log has made familiar, so that a line can be
 * pasted into a ticket. On a terminal one line is redrawn; elsewhere a line comes every few
 * seconds.
 */
export interface MirrorFigures {
  readonly id: string;
  readonly transferredBytes: number;
  readonly totalBytes: number;
  readonly dirtyBytes: number;
  readonly bytesPerSecond: number;
  /** Undefined where nobody knows. */
  readonly secondsLeft?: number | undefined;
  readonly status: string;
  readonly elapsedSeconds: number;
}

/** Where nothing is all that there is, it may be so because nobody has looked yet. */
const BEFORE_ALL_IS_KNOWN = new Set(['created', 'running', 'paused', 'aborting', 'failed']);

export function progressText(figures: MirrorFigures): string {
  const { transferredBytes, totalBytes, dirtyBytes, secondsLeft, status } = figures;
  if (totalBytes === 0 && BEFORE_ALL_IS_KNOWN.has(status)) {
    const seconds = formatSeconds(figures.elapsedSeconds);
    if (status !== 'running') return `${figures.id}: ${status}, after ${seconds}`;
    return `${figures.id}: looking for what to copy, since ${seconds}`;
  }
  const percent = totalBytes === 0 ? 100 : (100 * transferredBytes) / totalBytes;
  // Rounded down: nothing is said to be done while a byte of it is dirty.
  const shown = (Math.floor(percent * 100) / 100).toFixed(2);
  const parts = [
    `${figures.id}: transferred ${formatBytes(transferredBytes)} of ${formatBytes(totalBytes)} ` +
      `(${shown}%) in ${formatSeconds(figures.elapsedSeconds)}`,
  ];
  // First: a terminal of 80 columns has no room for all of it.
  if (secondsLeft !== undefined) parts.push(`about ${formatGuess(secondsLeft)} left`);
  if (figures.bytesPerSecond > 0) parts.push(`${formatBytes(figures.bytesPerSecond)}/s`);
  if (dirtyBytes > 0) parts.push(`${formatBytes(dirtyBytes)} dirty`);
  if (status !== 'running') parts.push(status);
  return parts.join(', ');
}

const PLAIN_INTERVAL_MS = 5000;

export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export class ProgressLine {
  readonly #out: Terminal;
  readonly #now: () => number;
  #last = '';
  #lastAt = Number.NEGATIVE_INFINITY;
  #open = false;

  constructor(out: Terminal, now: () => number) {
    this.#out = out;
    this.#now = now;
  }

  /**
   * Shows `text`; off a terminal only when some time has passed and `news`, what may be new in it,
   * is not what it was.
   */
  show(text: string, news: string): void {
    if (this.#out.isTTY === true) {
      // A serial console has 0: nobody knows how wide it is.
      const width = (this.#out.columns || 80) - 1;
      this.#out.write(`\r\x1b[K${text.slice(0, width)}`);
      this.#open = true;
    } else if (news !== this.#last && this.#now() - this.#lastAt >= PLAIN_INTERVAL_MS) {
      this.#out.write(`${text}\n`);
      this.#lastAt = this.#now();
      this.#last = news;
    }
  }

  /** A line that stays, above what is shown next. */
  print(text: string): void {
    this.#out.write(this.#open ? `\r\x1b[K${text}\n` : `${text}\n`);
    this.#open = false;
  }

  /** Ends a redrawn line, so that what follows begins on a new one. */
  end(): void {
    if (this.#open) this.#out.write('\n');
    this.#open = false;
  }
}
