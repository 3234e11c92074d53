import { BlockGraph } from '../../src/block/graph.ts';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { NbdExport } from '../../src/nbd-server/export.ts';
import { PayloadBudget } from '../../src/nbd-server/payload-budget.ts';
import { Transmission } from '../../src/nbd-server/transmission.ts';
import { BufferPool } from '../../src/util/buffer-pool.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { MiB, SERVER_PAYLOAD_BYTES_MAX } from '../../src/util/limits.ts';
import { silentLog } from '../../src/util/log.ts';
import { ShakyNode } from './shaky-node.ts';

/** Nobody may look at what was given back. */
class SpoilingPool extends BufferPool {
  override give(buffer: Buffer): void {
    buffer.fill(0xcc);
    super.give(buffer);
  }
}

/**
 * The transmission phase without a socket. Memory is treated as a connection treats it, only worse:
 * what is not kept is overwritten at once, and so is a reply as soon as it counts as sent.
 */
export class TransmissionHarness {
  readonly disk: MemoryNode;
  /** In front of the disk: what it does to requests is the test's. */
  readonly node: ShakyNode;
  readonly transmission: Transmission;
  finished = false;
  /** The client was cut off. */
  cut = false;
  paused = false;
  /** Replies are left where they are until `takeReplies`. */
  takesReplies = true;
  #untaken: (() => void)[] = [];
  #waiting: (() => void)[] = [];
  readonly #sent: Buffer[] = [];

  constructor(
    size: number,
    isSlow: () => boolean,
    shared: { clock?: Clock; budget?: PayloadBudget } = {},
  ) {
    const { clock = systemClock, budget = new PayloadBudget(clock, SERVER_PAYLOAD_BYTES_MAX) } =
      shared;
    this.disk = new MemoryNode('disk', { size });
    this.node = new ShakyNode(this.disk);
    this.node.meddle = () =>
      isSlow() ? new Promise((resolve) => setImmediate(resolve)) : undefined;
    const graph = new BlockGraph();
    const use = graph.use(this.node, { kind: 'export', name: 'exp0' }, { writable: true });
    this.transmission = new Transmission({
      connection: {
        write: (data, onWritten) => {
          this.#sent.push(Buffer.from(data));
          const taken = () => {
            data.fill(0xee);
            onWritten?.();
          };
          if (this.takesReplies) setImmediate(taken);
          else this.#untaken.push(taken);
        },
        writeFile: () => false,
        take: () => {},
        pause: () => {
          this.paused = true;
        },
        resume: () => {
          this.paused = false;
          for (const go of this.#waiting.splice(0)) go();
        },
        destroy: () => {
          this.cut = true;
        },
      },
      agreement: {
        export: new NbdExport({ id: 'exp0', name: '', writable: true, use }, clock),
        structured: false,
        contexts: [],
      },
      pool: new SpoilingPool(4 * MiB),
      budget,
      clock,
      log: silentLog,
      onFinished: () => {
        this.finished = true;
      },
    });
  }

  get sent(): Buffer {
    return Buffer.concat(this.#sent);
  }

  /** As a connection does it: into the room if there is one, else as a chunk in a slab. */
  async feed(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.paused) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      const room = this.transmission.room();
      if (room === undefined) {
        const slab = Buffer.from(bytes.subarray(at));
        if (!this.transmission.push(slab)) slab.fill(0xdd);
        return;
      }
      const taken = bytes.copy(room, 0, at);
      this.transmission.filled(taken);
      at += taken;
    }
  }

  /** The client takes what it has left. */
  takeReplies(): void {
    for (const taken of this.#untaken.splice(0)) taken();
  }

  async settle(): Promise<void> {
    this.transmission.end();
    while (!this.finished) await new Promise(setImmediate);
  }
}
