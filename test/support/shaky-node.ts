import { BlockNode, type Completion, type DiskRange, type Extent } from '../../src/block/node.ts';

export type Verb = 'read' | 'write' | 'zero' | 'discard' | 'flush' | 'status';

/**
 * What happens to a request before (and instead of) reaching the disk: nothing, a wait, an error.
 */
export type Meddle = (verb: Verb, range: DiskRange) => Completion;

/** A disk in front of another one that delays and fails requests as the test says. */
export class ShakyNode extends BlockNode {
  readonly driver = 'shaky';
  readonly disk: BlockNode;
  meddle: Meddle = () => {};
  /** Whether a request that waits reaches the disk before its wait, or after it. */
  actsFirst: () => boolean = () => false;
  /** Only when nothing meddles with questions for the block status. */
  statusIsFree = false;
  zeroesAreCheap = true;
  readonly log: string[] = [];
  #inFlightAborts = new Set<(error: Error) => void>();
  cancelled = 0;
  /** Its server is gone. */
  lost = false;
  #reconnectListeners = new Set<() => void>();

  constructor(disk: BlockNode) {
    super(disk.name);
    this.disk = disk;
  }

  get size() {
    return this.disk.size;
  }
  get readOnly() {
    return this.disk.readOnly;
  }
  get limits() {
    return this.disk.limits;
  }
  get features() {
    const { statusIsFree: freeStatus, zeroesAreCheap: cheapZero } = this;
    return { ...this.disk.features, freeStatus, cheapZero };
  }

  override get unreachable(): string | undefined {
    return this.lost ? 'lost' : this.disk.unreachable;
  }

  override cancelInFlight(): void {
    this.cancelled++;
    for (const abort of this.#inFlightAborts) {
      abort(Object.assign(new Error('cancelled'), { code: 'ECANCELED' }));
    }
  }

  override watchReconnects(listener: () => void): () => void {
    this.#reconnectListeners.add(listener);
    return () => this.#reconnectListeners.delete(listener);
  }

  reconnect(): void {
    for (const listener of this.#reconnectListeners) listener();
  }

  async close(): Promise<void> {
    await this.disk.close();
  }

  #do(verb: Verb, range: DiskRange, act: () => Completion): Completion {
    this.log.push(`${verb} ${range.offset}+${range.length}`);
    let wait: Completion;
    try {
      wait = this.meddle(verb, range);
    } catch (error) {
      throw this.fail(error, verb, range);
    }
    if (wait === undefined) return act();
    const acted = this.actsFirst();
    if (acted) void act();
    return new Promise<void>((resolve, reject) => {
      this.#inFlightAborts.add(reject);
      void wait
        .then(() => (acted ? undefined : act()))
        .then(resolve, reject)
        .finally(() => this.#inFlightAborts.delete(reject));
    }).catch((error: unknown) => {
      throw this.fail(error, verb, range);
    });
  }

  protected doRead(offset: number, buffer: Buffer): Completion {
    return this.#do('read', { offset, length: buffer.length }, () =>
      this.disk.read(offset, buffer),
    );
  }
  protected doWrite(offset: number, data: Buffer, flags: number): Completion {
    return this.#do('write', { offset, length: data.length }, () =>
      this.disk.write(offset, data, flags),
    );
  }
  protected doWriteZeroes(offset: number, length: number, flags: number): Completion {
    return this.#do('zero', { offset, length }, () => this.disk.writeZeroes(offset, length, flags));
  }
  protected doDiscard(offset: number, length: number, flags: number): Completion {
    return this.#do('discard', { offset, length }, () => this.disk.discard(offset, length, flags));
  }
  protected doFlush(): Completion {
    return this.#do('flush', { offset: 0, length: 0 }, () => this.disk.flush());
  }
  protected doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] | Promise<readonly Extent[]> {
    const failed = (error: unknown): never => {
      throw this.fail(error, 'ask', { offset, length });
    };
    let wait: Completion;
    try {
      wait = this.meddle('status', { offset, length });
    } catch (error) {
      return failed(error);
    }
    if (wait === undefined) return this.disk.blockStatus(offset, length, extentsMax);
    return wait.then(() => this.disk.blockStatus(offset, length, extentsMax), failed);
  }
}

/** Counts the bytes of data on their way to a node that answers each write after `wait`. */
export class InFlight {
  #bytes = 0;
  /** The most there have been at a time. */
  most = 0;

  constructor(node: ShakyNode, wait: () => Promise<void>) {
    node.meddle = async (verb, { length }) => {
      if (verb !== 'write') return;
      this.#bytes += length;
      this.most = Math.max(this.most, this.#bytes);
      await wait();
      this.#bytes -= length;
    };
  }
}
