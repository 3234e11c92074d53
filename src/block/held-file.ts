import fs from 'node:fs';

/**
 * An open file that stays open while anybody reads it: a node may be closed when its clients have
 * moved to another one, but for the last reads of a client that is slow to take them.
 */
export class HeldFile {
  readonly fd: number;
  /** Its node is the first. */
  #holders = 1;

  constructor(fd: number) {
    this.fd = fd;
  }

  hold(): void {
    this.#holders++;
  }

  /** Once by each holder; the last one closes it. */
  letGo(): void {
    if (--this.#holders === 0) fs.closeSync(this.fd);
  }
}
