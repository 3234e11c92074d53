/** How long each job has taken: a mirror that an operator starts is younger than its watch. */
export class JobTimes {
  readonly #now: () => number;
  /** Of jobs that were there before. */
  readonly #watchedSince: number;
  readonly #begun = new Map<string, number>();
  readonly #ended = new Map<string, number>();

  /** `now`: milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
    this.#watchedSince = now();
  }

  /** What JOB_STATUS_CHANGE tells. */
  note(id: string, status: string): void {
    if (status === 'created') this.#begun.set(id, this.#now());
    // One that has failed may stay for days.
    if (status === 'concluded') this.#ended.set(id, this.#now());
    if (status === 'null') {
      this.#begun.delete(id);
      this.#ended.delete(id);
    }
  }

  seconds(id: string): number {
    const begun = this.#begun.get(id) ?? this.#watchedSince;
    const until = this.#ended.get(id) ?? this.#now();
    return (until - begun) / 1000;
  }
}
