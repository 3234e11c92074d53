import fs from 'node:fs';
import { syncInPool, truncateInPool } from '../sys/pool-io.ts';
import type { Syscalls } from '../sys/syscalls.ts';
import { type Arrived, type Received, touchedBytes } from '../util/arrived.ts';
import type { Clock } from '../util/clock.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { KiB, MiB } from '../util/limits.ts';
import type { Log } from '../util/log.ts';
import { AlignedAccess } from './aligned.ts';
import { DirectDisk } from './file-node-direct.ts';
import { FileExtents } from './file-node-extents.ts';
import { SharedFlush } from './file-node-flush.ts';
import { BufferedDisk, type FileDisk, type FileIo } from './file-node-io.ts';
import { lock, type OpenFile, openFile } from './file-node-open.ts';
import { HeldFile } from './held-file.ts';
import {
  type BlockFeatures,
  type BlockLimits,
  BlockNode,
  type Completion,
  type Extent,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from './node.ts';

/**
 * A disk in a regular file or on a block device. This class says what each request means; how the
 * bytes move is `FileIo`, where holes are is `FileExtents`.
 */
export interface FileNodeOptions {
  name: string;
  filename: string;
  readOnly: boolean;
  cache: {
    /** Past the page cache (O_DIRECT). */
    direct: boolean;
    /** Flush and FUA do nothing: for disks that may be lost in a crash. */
    noFlush: boolean;
  };
  syscalls: Syscalls;
  clock: Clock;
  log: Log;
}

export class FileNode extends BlockNode {
  override readonly driver: 'file' | 'host_device';
  override size: number;
  override readOnly: boolean;
  override readonly limits: BlockLimits;
  readonly filename: string;
  /** As in `FileNodeOptions`; an open file can be told anew. */
  noFlush: boolean;
  readonly #options: FileNodeOptions;
  readonly #fd: number;
  readonly #held: HeldFile;
  #isOpenForWriting: boolean;
  readonly #disk: FileDisk;
  /** The disk, or what makes whole blocks of requests above it. */
  readonly #io: FileIo;
  readonly #extents: FileExtents;
  readonly #flush: SharedFlush;

  /** Rejects with a `BlockError` whose sentence names the file. */
  static async open(options: FileNodeOptions): Promise<FileNode> {
    const { filename, readOnly, cache, syscalls, log } = options;
    return new FileNode(
      options,
      openFile({ filename, readOnly, direct: cache.direct, syscalls, log }),
    );
  }

  private constructor(options: FileNodeOptions, file: OpenFile) {
    super(options.name);
    const { syscalls, clock, filename, readOnly } = options;
    const { fd, device, size, directBlockBytes } = file;
    this.driver = device ? 'host_device' : 'file';
    this.size = size;
    this.readOnly = readOnly;
    this.filename = filename;
    this.limits = {
      requestAlignment: directBlockBytes ?? 1,
      preferredBytes: 4 * KiB,
      transferBytesMax: 64 * MiB,
    };
    this.#options = options;
    this.noFlush = options.cache.noFlush;
    this.#fd = fd;
    this.#held = new HeldFile(fd);
    this.#isOpenForWriting = !readOnly;
    this.#flush = new SharedFlush(() => syncInPool(fd));
    const handle = { syscalls, flush: this.#flush, ...file };
    if (directBlockBytes === undefined) {
      this.#disk = new BufferedDisk(handle, clock);
      this.#io = this.#disk;
    } else {
      const disk = new DirectDisk(handle, directBlockBytes);
      this.#disk = disk;
      this.#io = new AlignedAccess(disk);
    }
    this.#extents = new FileExtents(syscalls, fd, size);
  }

  override get features(): BlockFeatures {
    return {
      discard: true,
      fastZero: this.#disk.zeroesAreFast,
      cheapZero: this.#disk.zeroesAreCheap,
      freeStatus: true,
    };
  }

  /** What is open for writing stays so; its lock says what we do with it. */
  override setReadOnly(readOnly: boolean): void {
    if (readOnly === this.readOnly) return;
    if (this.#isOpenForWriting) lock(this.#fd, { ...this.#options, readOnly });
    else this.#openForWriting();
    this.readOnly = readOnly;
  }

  #openForWriting(): void {
    const { cache, syscalls } = this.#options;
    // Locks belong to an opened file: ours would keep us out.
    syscalls.tryLock(this.#fd, 'none');
    let opened: number | undefined;
    try {
      opened = openFile({ ...this.#options, readOnly: false, direct: cache.direct }).fd;
      assertSameFile(opened, this.#fd, this.filename);
      syscalls.replace(this.#fd, opened);
    } catch (error) {
      if (opened !== undefined) fs.closeSync(opened);
      lock(this.#fd, { ...this.#options, readOnly: true });
      throw error;
    }
    this.#isOpenForWriting = true;
  }

  override async resize(size: number): Promise<void> {
    if (this.readOnly) throw new RefusedError('Image is read-only');
    if (this.driver === 'host_device') this.#checkDeviceSize(size);
    else await this.#truncate(size);
    this.size = size;
    this.#extents.resize(size);
  }

  override async close(): Promise<void> {
    try {
      if (!this.readOnly) await this.flush();
    } finally {
      this.#unlock();
      this.#held.letGo();
    }
  }

  /** Somebody may read it still, and keeps nobody else from it. */
  #unlock(): void {
    try {
      this.#options.syscalls.tryLock(this.#fd, 'none');
    } catch {
      // Where nothing can be locked, nothing is.
    }
  }

  override fileBytes(offset: number, length: number, dataOnly: boolean): FileBytes | undefined {
    const bytes = this.#disk.cachedBytes(offset, length, dataOnly);
    if (bytes === undefined) return undefined;
    this.#held.hold();
    return Object.assign(bytes, { end: () => this.#held.letGo() });
  }

  protected override doRead(offset: number, buffer: Buffer): Completion {
    let done: Completion;
    try {
      done = this.#io.read(offset, buffer);
    } catch (error) {
      throw this.fail(error, 'read', { offset, length: buffer.length });
    }
    // Only here, so that a read that is done at once leaves nothing behind.
    if (done === undefined) return;
    const held = this.#held;
    held.hold();
    return done.then(
      () => held.letGo(),
      (error: unknown) => {
        held.letGo();
        throw this.fail(error, 'read', { offset, length: buffer.length });
      },
    );
  }

  protected override doWrite(offset: number, data: Buffer, flags: number): Completion {
    const { length } = data;
    if (length === 0) return;
    let done: Completion;
    try {
      done = this.#io.write(offset, data, this.#mustBeDurable(flags) ? WRITE_FUA : 0);
    } catch (error) {
      throw this.fail(error, 'write', { offset, length });
    } finally {
      this.#extents.wrote(offset, length);
    }
    return done && this.#changed(done, 'write', offset, length);
  }

  protected override doReceive(
    offset: number,
    length: number,
    arrived: Arrived,
  ): Received | undefined {
    const received = this.#disk.receive(offset, length, arrived);
    if (received !== undefined) this.#extents.wrote(offset, touchedBytes(received));
    return received;
  }

  protected override doWriteZeroes(offset: number, length: number, flags: number): Completion {
    if (length === 0) return;
    const how = flags & (ZERO_MAY_UNMAP | ZERO_NO_FALLBACK);
    const done = this.#durably(flags, () => this.#io.writeZeroes(offset, length, how));
    return this.#changed(done, 'zero', offset, length);
  }

  protected override doDiscard(offset: number, length: number, flags: number): Completion {
    if (length === 0) return;
    const done = this.#durably(flags, () => this.#io.discard(offset, length, 0));
    return this.#changed(done, 'discard', offset, length);
  }

  protected override doFlush(): Completion {
    if (this.noFlush) return;
    return this.#flush.flush().catch((error: unknown) => {
      throw this.fail(error, 'flush');
    });
  }

  protected override doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] {
    return this.#extents.status(offset, length, extentsMax);
  }

  protected override doPrefetch(offset: number, length: number): Completion {
    if (this.#options.cache.direct) return;
    return this.#options.syscalls.willNeed(this.#fd, offset, length);
  }

  async #truncate(size: number): Promise<void> {
    if (size % this.limits.requestAlignment !== 0) {
      const block = this.limits.requestAlignment;
      throw new BlockError(
        'EINVAL',
        `Cannot resize node "${this.name}": past the page cache ${size} bytes must be a multiple ` +
          `of ${block}`,
      );
    }
    await truncateInPool(this.#fd, size).catch((error: unknown) => {
      throw this.fail(error, 'resize');
    });
  }

  /** The size of a device is not ours to change: it can only be taken note of. */
  #checkDeviceSize(size: number): void {
    const actual = this.#options.syscalls.deviceGeometry(this.#fd).size;
    if (size > actual) throw new RefusedError('Cannot grow device files');
    if (size < actual) throw new RefusedError('Cannot resize device files');
  }

  #mustBeDurable(flags: number): boolean {
    return (flags & WRITE_FUA) !== 0 && !this.noFlush;
  }

  async #durably(flags: number, change: () => Completion): Promise<void> {
    await change();
    if (this.#mustBeDurable(flags)) await this.flush();
  }

  /** The rest of a change that did not finish at once. */
  async #changed(done: Promise<void>, verb: string, offset: number, length: number): Promise<void> {
    try {
      await done;
    } catch (error) {
      throw this.fail(error, verb, { offset, length });
    } finally {
      if (verb === 'write') this.#extents.wrote(offset, length);
      else this.#extents.forget(offset, length);
    }
  }
}

/** A name may stand for another file by now. */
function assertSameFile(fd: number, other: number, filename: string): void {
  const [a, b] = [fs.fstatSync(fd), fs.fstatSync(other)];
  if (a.dev === b.dev && a.ino === b.ino) return;
  throw new RefusedError(`Could not reopen "${filename}": it is another file by now`);
}
