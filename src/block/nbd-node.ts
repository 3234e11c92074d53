import {
  type AllocationExtent,
  ConnectionLost,
  type ConnectOptions,
  type NbdClient,
  type ZeroOptions,
} from '../nbd-client/nbd-client.ts';
import { NbdLink } from '../nbd-client/nbd-link.ts';
import type { Abilities, Agreement } from '../nbd-client/negotiate.ts';
import type { HotSockets } from '../net/hot-sockets.ts';
import type { Syscalls } from '../sys/syscalls.ts';
import { allEnded } from '../util/all-ended.ts';
import { type Clock, within } from '../util/clock.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import {
  KiB,
  MiB,
  TARGET_EFFECT_BYTES_MAX,
  TARGET_GOODBYE_MS_MAX,
  TARGET_STATUS_BYTES_MAX,
  UNIX_SEND_BUFFER_BYTES,
} from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { AlignedAccess, type BlockwiseDisk } from './aligned.ts';
import {
  type BlockFeatures,
  type BlockLimits,
  BlockNode,
  type Completion,
  type Extent,
  pieces,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from './node.ts';

/**
 * A disk on an NBD server. Size, blocks and abilities are the server's; what it lacks is made up
 * for here: requests are cut to its longest, parts of its blocks are read and written back, a FUA
 * write is followed by a flush, zeroes are written. How a lost server is waited for is `NbdLink`'s.
 *
 * A request of whole blocks that needs no cutting goes straight to the connection and costs nothing
 * here. (It takes a lock on its range when blocks are larger than a byte.) What a request becomes
 * is decided when it is sent, for the server that gets it: one that comes back may do less.
 */
export interface OpenNbdOptions {
  readonly name: string;
  readonly address: ConnectOptions['address'];
  /** Empty for the default export. */
  readonly exportName: string;
  /** The metadata context that block status tells of; `base:allocation` by default. */
  readonly statusContext?: string | undefined;
  readonly readOnly?: boolean;
  /** Opens read-only what the server does not let us write to. */
  readonly autoReadOnly?: boolean;
  /** How long requests wait for a lost server, and are sent again; 0: they fail at once. */
  readonly reconnectDelaySeconds?: number;
  /** How long to try for the first connection; 0: once. */
  readonly openTimeoutSeconds?: number;
  readonly syscalls: Syscalls;
  readonly hotSockets?: HotSockets | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Gives up while there is no connection yet. */
  readonly signal?: AbortSignal;
}

/** Zeroes for servers that cannot make them. */
const ZERO_BYTES = 256 * KiB;
/** What a server takes that tells no limits. */
const DEFAULT_ALIGNMENT = 512;
const DEFAULT_PREFERRED_BYTES = 4096;
const TRANSFER_BYTES_MAX = 32 * MiB;

/** `isRepeated`: it was sent before, and what became of it is not known. */
type Request<T> = (client: NbdClient, isRepeated: boolean) => Promise<T>;

/** Instead of what a server cannot do and nobody has to. */
const DONE = Promise.resolve();

export class NbdNode extends BlockNode {
  override readonly driver = 'nbd';
  override readonly size: number;
  override readOnly: boolean;
  override readonly limits: BlockLimits;
  readonly address: ConnectOptions['address'];
  readonly exportName: string;

  readonly #link: NbdLink;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #resendMs: number;
  readonly #blocks: AlignedAccess;
  /** The longest request without payload; shrinks when the server turns out to take less. */
  #effectBytesMax: number;
  /** The same for block status. */
  #statusBytesMax = TARGET_STATUS_BYTES_MAX;

  /** Rejects with `BlockError`, whose message says what is wrong with the server. */
  static async open(options: OpenNbdOptions): Promise<NbdNode> {
    const { name, readOnly = false, autoReadOnly = false, reconnectDelaySeconds = 0 } = options;
    const cannot = `Cannot open node "${name}"`;
    const link = await NbdLink.open({
      address: options.address,
      exportName: options.exportName,
      ...(options.statusContext !== undefined && { contexts: [options.statusContext] }),
      owner: `node "${name}"`,
      delayMs: reconnectDelaySeconds * 1000,
      openTimeoutMs: (options.openTimeoutSeconds ?? 0) * 1000,
      hotSockets: options.hotSockets,
      onUnixSocket: (fd) => options.syscalls.widenSendBuffer(fd, UNIX_SEND_BUFFER_BYTES),
      clock: options.clock,
      log: options.log.child({ node: name }),
      ...(options.signal && { signal: options.signal }),
    }).catch((error: Error) => {
      throw new BlockError('EIO', `${cannot}: ${error.message}`, { cause: error });
    });
    const { statusContext } = options;
    if (statusContext !== undefined && link.info.contexts.length === 0) {
      await link.close();
      throw new BlockError('EINVAL', `requested x-dirty-bitmap ${statusContext} not found`);
    }
    const serverReadOnly = link.info.abilities.readOnly;
    if (serverReadOnly && !readOnly && !autoReadOnly) {
      const server = link.client?.peer ?? 'the server';
      await link.close();
      throw new BlockError(
        'EPERM',
        `${cannot} for writing: ${server} exports "${options.exportName}" read-only`,
      );
    }
    return new NbdNode(options, link, readOnly || serverReadOnly);
  }

  private constructor(options: OpenNbdOptions, link: NbdLink, readOnly: boolean) {
    super(options.name);
    const { info } = link;
    this.#link = link;
    this.#clock = options.clock;
    this.#log = options.log.child({ node: options.name });
    this.#resendMs = (options.reconnectDelaySeconds ?? 0) * 1000;
    this.address = options.address;
    this.exportName = options.exportName;
    this.size = info.size;
    this.readOnly = readOnly;
    this.limits = limitsOf(info);
    const alignment = this.limits.requestAlignment;
    link.needs = () => ({ alignment, writes: !this.readOnly });
    this.#effectBytesMax = Math.max(TARGET_EFFECT_BYTES_MAX, alignment);
    this.#blocks = new AlignedAccess(this.#disk());
  }

  override get features(): BlockFeatures {
    return {
      discard: this.#can().trim,
      fastZero: this.#can().fastZero,
      cheapZero: this.#can().writeZeroes,
      freeStatus: false,
    };
  }

  override cancelInFlight(): void {
    const reason = new BlockError(
      'ECANCELED',
      `Cannot go on with requests on node "${this.name}": they were cancelled`,
    );
    this.#blocks.cancelWaiting(reason);
    this.#link.cancelInFlight(reason);
  }

  override setReadOnly(readOnly: boolean): void {
    if (!readOnly && this.#can().readOnly) {
      throw new RefusedError("Can't reopen read-only NBD mount as read/write");
    }
    this.readOnly = readOnly;
  }

  override async resize(size: number): Promise<void> {
    if (size === this.size) return;
    const what = size > this.size ? 'grow' : 'resize';
    throw new RefusedError(`Cannot ${what} NBD nodes`);
  }

  override watchReconnects(listener: () => void): () => void {
    return this.#link.watchReconnects(listener);
  }

  override get unreachable(): string | undefined {
    return this.#link.unreachable;
  }

  /** What was written is on stable storage then, if the server answers in time. */
  override async close(): Promise<void> {
    const { client } = this.#link;
    if (!this.readOnly && this.#can().flush && client !== undefined) {
      const flushed = client.flush().catch(({ message: reason }: Error) => {
        this.#log.error({ reason }, 'what was written may not be on stable storage');
      });
      await within(this.#clock, TARGET_GOODBYE_MS_MAX, flushed);
    }
    await this.#link.close();
  }

  /** What needs neither cutting nor other parts of its blocks. */
  override takesFile(offset: number, length: number): boolean {
    const { requestAlignment } = this.limits;
    return (
      offset % requestAlignment === 0 &&
      length % requestAlignment === 0 &&
      length <= this.#bytesMax(this.#link)
    );
  }

  protected override doWriteFile(offset: number, bytes: FileBytes): Completion {
    return this.#blocks.hold(offset, bytes.length, () =>
      this.#send((client) => this.#writeFile(client, offset, bytes)),
    );
  }

  protected override doRead(offset: number, buffer: Buffer): Completion {
    if (buffer.length > 0) return this.#blocks.read(offset, buffer);
  }

  protected override doWrite(offset: number, data: Buffer, flags: number): Completion {
    if (data.length > 0) return this.#blocks.write(offset, data, flags);
  }

  protected override doWriteZeroes(offset: number, length: number, flags: number): Completion {
    if (length > 0) return this.#blocks.writeZeroes(offset, length, flags);
  }

  protected override doDiscard(offset: number, length: number, flags: number): Completion {
    return this.#blocks.discard(offset, length, flags);
  }

  protected override doFlush(): Completion {
    return this.#send((client) => (client.info.abilities.flush ? client.flush() : DONE));
  }

  protected override doPrefetch(offset: number, length: number): Completion {
    if (length === 0) return;
    const { start, end } = this.#blocksOf(offset, length);
    return this.#inEffects(start, end - start, (at, bytes) =>
      this.#send((client) => (client.info.abilities.cache ? client.cache(at, bytes) : DONE)),
    );
  }

  protected override async doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): Promise<readonly Extent[]> {
    const { start, end } = this.#blocksOf(offset, length);
    const asked = Math.min(end - start, this.#statusBytesMax);
    const one = extentsMax === 1 && start === offset;
    try {
      const found = await this.#send((client) => client.allocation(start, asked, one));
      return extentsIn({ offset, length }, start, found, extentsMax);
    } catch (error) {
      if (!isTooLong(error) || asked <= TARGET_EFFECT_BYTES_MAX) throw error;
      this.#statusBytesMax = TARGET_EFFECT_BYTES_MAX;
      return this.doBlockStatus(offset, length, extentsMax);
    }
  }

  /** Whole blocks, any number of them. */
  #disk(): BlockwiseDisk {
    return {
      blockBytes: this.limits.requestAlignment,
      allocate: (bytes) => Buffer.allocUnsafe(bytes),
      read: (offset, buffer) =>
        this.#send((client) =>
          this.#inTransfers(client, offset, buffer, (at, part) => client.read(at, part)),
        ),
      write: (offset, data, flags) =>
        this.#sendDurably(flags, (client, _, fua) => this.#write(client, offset, data, fua)),
      writeZeroes: (offset, length, flags) =>
        this.#inEffects(offset, length, (at, bytes) =>
          this.#sendDurably(flags, (client, isRepeated, fua = false) => {
            // Who says no has changed nothing: not when a part of it is, or may be, done.
            const mayRefuse = at === offset && !isRepeated;
            const fast = (flags & ZERO_NO_FALLBACK) !== 0 && mayRefuse;
            const noHole = (flags & ZERO_MAY_UNMAP) === 0;
            return this.#zero(client, at, bytes, { fua, fast, noHole });
          }),
        ),
      discard: (offset, length, flags) =>
        this.#inEffects(offset, length, (at, bytes) =>
          this.#sendDurably(flags, (client, _, fua) =>
            client.info.abilities.trim ? client.trim(at, bytes, fua) : DONE,
          ),
        ),
    };
  }

  #write(client: NbdClient, offset: number, data: Buffer, fua?: boolean): Promise<void> {
    return this.#inTransfers(client, offset, data, (at, part) => client.write(at, part, fua));
  }

  #writeFile(client: NbdClient, offset: number, bytes: FileBytes): Promise<void> {
    if (bytes.length <= this.#bytesMax(client)) return client.write(offset, bytes);
    // `takesFile` went by another server's maximum.
    const data = Buffer.allocUnsafe(bytes.length);
    const isRead = Promise.resolve(bytes.read(0, data));
    return isRead.then(() => this.#write(client, offset, data));
  }

  #zero(
    client: NbdClient,
    offset: number,
    length: number,
    { fua, fast, noHole }: Required<ZeroOptions>,
  ): Promise<void> {
    const { fastZero, writeZeroes } = client.info.abilities;
    if (fast && !fastZero) {
      const what = `Cannot zero ${length} bytes at ${offset} on node "${this.name}"`;
      throw new BlockError('ENOTSUP', `${what}: the server cannot do it faster than by writing`);
    }
    if (!writeZeroes) return this.#writeZeros(client, offset, length, fua);
    return client.writeZeroes(offset, length, { fua, fast, noHole });
  }

  async #writeZeros(
    client: NbdClient,
    offset: number,
    length: number,
    fua: boolean,
  ): Promise<void> {
    const zeroes = Buffer.alloc(Math.min(length, ZERO_BYTES));
    for (const piece of pieces(offset, length, zeroes.length)) {
      await this.#write(client, piece.offset, zeroes.subarray(0, piece.length), fua);
    }
  }

  /** With WRITE_FUA: by the flag on the wire if the server has it, else by a flush afterwards. */
  #sendDurably(
    flags: number,
    request: (client: NbdClient, isRepeated: boolean, fua?: boolean) => Promise<void>,
  ): Promise<void> {
    if ((flags & WRITE_FUA) === 0) return this.#send(request);
    return this.#send((client, isRepeated) => {
      const { fua, flush } = client.info.abilities;
      const done = request(client, isRepeated, fua);
      if (fua || !flush) return done;
      // By whoever has answered it, or both again: what a lost server had in its cache is lost.
      return done.then(() => client.flush());
    });
  }

  /** Cuts a request with payload to what the server takes. */
  #inTransfers(
    client: NbdClient,
    offset: number,
    buffer: Buffer,
    send: (at: number, part: Buffer) => Promise<void>,
  ): Promise<void> {
    const bytesMax = this.#bytesMax(client);
    if (buffer.length <= bytesMax) return send(offset, buffer);
    const work: Promise<void>[] = [];
    for (const { offset: at, length } of pieces(0, buffer.length, bytesMax)) {
      work.push(send(offset + at, buffer.subarray(at, at + length)));
    }
    return allEnded(work);
  }

  /**
   * Cuts a request without payload, part after part. Such a request may be longer than the longest
   * payload, unless the server says that this is too much for it; then we know for the next time.
   */
  async #inEffects(
    offset: number,
    length: number,
    send: (at: number, bytes: number) => Promise<void>,
  ): Promise<void> {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const bytes = Math.min(end - at, this.#effectBytesMax);
      try {
        await send(at, bytes);
        at += bytes;
      } catch (error) {
        const bytesMax = this.#bytesMax(this.#link);
        if (!isTooLong(error) || bytes <= bytesMax) throw error;
        this.#effectBytesMax = bytesMax;
      }
    }
  }

  #send<T>(request: Request<T>): Promise<T> {
    const { client } = this.#link;
    if (client !== undefined && !this.#link.resends) return request(client, false);
    return this.#sendUntilAnswered(request);
  }

  /** Every request may be sent twice: what it leaves behind is the same. */
  async #sendUntilAnswered<T>(request: Request<T>): Promise<T> {
    let deadline: number | undefined;
    for (let isRepeated = false; ; isRepeated = true) {
      const client = this.#link.client ?? (await this.#link.wait());
      try {
        return await request(client, isRepeated);
      } catch (error) {
        if (!(error instanceof ConnectionLost) || error.code === 'ECANCELED') throw error;
        const now = this.#clock.now();
        deadline ??= now + this.#resendMs;
        if (now >= deadline) throw error;
      }
    }
  }

  /** The longest payload that the server takes. */
  #bytesMax({ info }: { readonly info: Agreement }): number {
    return transferBytesMax(info, this.limits.requestAlignment);
  }

  #can(): Abilities {
    return this.#link.info.abilities;
  }

  /** The blocks that a range touches. */
  #blocksOf(offset: number, length: number): { start: number; end: number } {
    const { requestAlignment } = this.limits;
    return {
      start: Math.floor(offset / requestAlignment) * requestAlignment,
      end: Math.ceil((offset + length) / requestAlignment) * requestAlignment,
    };
  }
}

function limitsOf(info: Agreement): BlockLimits {
  // Not every server tells its limits; those who do not may count in sectors.
  const assumed = info.size % DEFAULT_ALIGNMENT === 0 ? DEFAULT_ALIGNMENT : 1;
  const requestAlignment = info.blockSize?.minimum ?? assumed;
  const preferred = info.blockSize?.preferred ?? DEFAULT_PREFERRED_BYTES;
  return {
    requestAlignment,
    // No request is longer. And who exports the node may not prefer more than it takes.
    preferredBytes: Math.min(preferred, TRANSFER_BYTES_MAX),
    transferBytesMax: transferBytesMax(info, requestAlignment),
  };
}

function transferBytesMax(info: Agreement, alignment: number): number {
  const bytes = Math.min(info.blockSize?.maximum ?? TRANSFER_BYTES_MAX, TRANSFER_BYTES_MAX);
  return Math.floor(bytes / alignment) * alignment;
}

function isTooLong(error: unknown): boolean {
  return error instanceof BlockError && (error.code === 'EINVAL' || error.code === 'EOVERFLOW');
}

/** What the server found from `start` on, cut to the range; what it did not find may be data. */
function extentsIn(
  range: { offset: number; length: number },
  start: number,
  found: readonly AllocationExtent[],
  extentsMax: number,
): readonly Extent[] {
  const rangeEnd = range.offset + range.length;
  const extents: Extent[] = [];
  let at = start;
  for (const { length, hole, zero } of found) {
    const offset = Math.max(at, range.offset);
    at += length;
    const end = Math.min(at, rangeEnd);
    if (end <= offset) continue;
    const last = extents.at(-1);
    if (last?.hole === hole && last.zero === zero) last.length += end - offset;
    else if (extents.length === extentsMax) break;
    else extents.push({ offset, length: end - offset, hole, zero });
  }
  if (extents.length === 0) extents.push({ ...range, hole: false, zero: false });
  return extents;
}
