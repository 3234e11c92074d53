import type { Arrived, Received } from '../util/arrived.ts';
import { BlockError, RefusedError } from '../util/errors.ts';
import type { FileBytes } from '../util/file-bytes.ts';
import { FilterNode } from './filter-node.ts';
import type { NodeUse } from './graph.ts';
import type { BlockLimits, BlockNode, Completion, Extent } from './node.ts';

/** A window onto another node: a partition, or a disk behind a header. */
export class RawNode extends FilterNode {
  override readonly driver = 'raw';
  /** Where the window begins in the child, in bytes. */
  readonly offset: number;
  /** Undefined for a window that ends with the child. */
  readonly #fixedSize: number | undefined;
  readonly #use: NodeUse;

  /** Without `size` the window ends with the child. Throws a `BlockError` when it would not fit. */
  constructor(name: string, use: NodeUse, window: { offset?: number; size?: number } = {}) {
    super(name);
    const { offset = 0, size = use.node.size - offset } = window;
    if (offset < 0 || size < 0 || offset + size > use.node.size) {
      throw new BlockError(
        'EINVAL',
        `Cannot open node "${name}": a window of ${size} bytes at ${offset} does not lie within ` +
          `node "${use.node.name}", which has ${use.node.size} bytes`,
      );
    }
    this.#use = use;
    this.offset = offset;
    this.#fixedSize = window.size;
  }

  override get size(): number {
    return this.#fixedSize ?? this.child.size - this.offset;
  }

  /** As long as its child, whatever becomes of that. */
  get isWhole(): boolean {
    return this.offset === 0 && this.#fixedSize === undefined;
  }

  override setReadOnly(readOnly: boolean): void {
    this.#use.writable = !readOnly;
  }

  override async resize(size: number): Promise<void> {
    if (this.#fixedSize !== undefined) {
      throw new RefusedError('Cannot resize fixed-size raw disks');
    }
    if (this.readOnly) throw new RefusedError('Image is read-only');
    await this.child.resize(this.offset + size);
  }

  override get child(): BlockNode {
    return this.#use.node;
  }

  override get childOffset(): number {
    return this.offset;
  }

  override get readOnly(): boolean {
    return !this.#use.writable || this.child.readOnly;
  }

  override get limits(): BlockLimits {
    const { requestAlignment, preferredBytes, transferBytesMax } = this.child.limits;
    return {
      requestAlignment: alignmentAt(this.offset, requestAlignment),
      preferredBytes: Math.max(PREFERRED_BYTES_MIN, alignmentAt(this.offset, preferredBytes)),
      transferBytesMax,
    };
  }

  /** The child lives on; whoever opened it closes it. */
  override async close(): Promise<void> {
    this.#use.release();
  }

  override fileBytes(offset: number, length: number, dataOnly: boolean): FileBytes | undefined {
    return this.child.fileBytes(this.offset + offset, length, dataOnly);
  }

  protected override doRead(offset: number, buffer: Buffer): Completion {
    return this.child.read(this.offset + offset, buffer);
  }

  protected override doWrite(offset: number, data: Buffer, flags: number): Completion {
    return this.child.write(this.offset + offset, data, flags);
  }

  protected override doReceive(
    offset: number,
    length: number,
    arrived: Arrived,
  ): Received | undefined {
    return this.child.receive(this.offset + offset, length, arrived);
  }

  protected override doWriteZeroes(offset: number, length: number, flags: number): Completion {
    return this.child.writeZeroes(this.offset + offset, length, flags);
  }

  protected override doDiscard(offset: number, length: number, flags: number): Completion {
    return this.child.discard(this.offset + offset, length, flags);
  }

  protected override doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] | Promise<readonly Extent[]> {
    const status = this.child.blockStatus(this.offset + offset, length, extentsMax);
    return status instanceof Promise
      ? status.then((extents) => this.#here(extents))
      : this.#here(status);
  }

  protected override doPrefetch(offset: number, length: number): Completion {
    return this.child.prefetch(this.offset + offset, length);
  }

  #here(extents: readonly Extent[]): readonly Extent[] {
    if (this.offset === 0) return extents;
    return extents.map((extent) => ({ ...extent, offset: extent.offset - this.offset }));
  }
}

const PREFERRED_BYTES_MIN = 512;

/** What is left of an alignment in the child for a window that begins at `offset`. */
function alignmentAt(offset: number, alignment: number): number {
  let result = alignment;
  while (offset % result !== 0) result /= 2;
  return result;
}
