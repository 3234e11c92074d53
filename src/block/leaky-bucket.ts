/**
 * A leaky bucket, as QEMU's throttling has it: requests pour in what they cost, it leaks at the
 * allowed rate, and while it is too full requests wait. A request is admitted whole as soon as
 * there is any room, so the bucket may overflow by one request; what is too much delays the next.
 *
 * With a burst of some length there is a second, smaller bucket that leaks at the burst's rate and
 * so bounds the rate within the burst.
 */
export interface Rate {
  /** Units a second; 0 is no limit. */
  readonly average: number;
  /** Units a second in a burst; 0: none but the tenth of a second that everybody is granted. */
  readonly burst: number;
  /** How long a burst may last, in seconds. */
  readonly burstSeconds: number;
}

/** Without a burst that is asked for, this share of a second may come at once. */
const SMOOTHING = 1 / 10;

export class LeakyBucket {
  readonly #rate: Rate;
  #level = 0;
  #burstLevel = 0;

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  pour(units: number): void {
    if (this.#rate.average === 0) return;
    this.#level += units;
    if (this.#hasBurstRate) this.#burstLevel += units;
  }

  leak(seconds: number): void {
    const { average, burst } = this.#rate;
    this.#level = Math.max(0, this.#level - average * seconds);
    this.#burstLevel = Math.max(0, this.#burstLevel - burst * seconds);
  }

  /** Seconds until there is room; 0: there is. */
  get waitSeconds(): number {
    const { average, burst, burstSeconds } = this.#rate;
    if (average === 0) return 0;
    const depth = burst === 0 ? average * SMOOTHING : burst * burstSeconds;
    if (this.#level > depth) return (this.#level - depth) / average;
    const burstDepth = burst * SMOOTHING;
    if (this.#hasBurstRate && this.#burstLevel > burstDepth) {
      return (this.#burstLevel - burstDepth) / burst;
    }
    return 0;
  }

  /** A burst of one second is as deep as its rate: nothing else bounds it. */
  get #hasBurstRate(): boolean {
    return this.#rate.burstSeconds > 1;
  }
}
