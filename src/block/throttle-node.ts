import { BlockError, RefusedError } from '../util/errors.ts';
import { FilterNode } from './filter-node.ts';
import type { NodeUse } from './graph.ts';
import type { BlockFeatures, BlockNode, Completion } from './node.ts';
import type { Direction, ThrottleGroup, ThrottleMember } from './throttle-group.ts';

/**
 * A node whose requests keep to the limits of a throttle group. Zeroes and discards count as writes
 * of their length; flushes and questions pass, as in QEMU.
 */
export class ThrottleNode extends FilterNode {
  override readonly driver = 'throttle';
  readonly #use: NodeUse;
  #member: ThrottleMember;

  constructor(name: string, use: NodeUse, group: ThrottleGroup) {
    super(name);
    this.#use = use;
    this.#member = group.join();
  }

  get group(): ThrottleGroup {
    return this.#member.group;
  }

  /** Goes on under another group; who waits for the old one goes on at once. */
  moveTo(group: ThrottleGroup): void {
    if (group === this.group) return;
    this.#member.leave();
    this.#member = group.join();
  }

  override get child(): BlockNode {
    return this.#use.node;
  }

  override get readOnly(): boolean {
    return !this.#use.writable || super.readOnly;
  }

  /** A read whose holes were asked for beforehand would take less than it counts for. */
  override get features(): BlockFeatures {
    return { ...super.features, freeStatus: false };
  }

  override setReadOnly(readOnly: boolean): void {
    this.#use.writable = !readOnly;
  }

  override async resize(size: number): Promise<void> {
    if (this.readOnly) throw new RefusedError('Image is read-only');
    await this.child.resize(size);
  }

  override hurry(): void {
    this.#member.release();
    super.hurry();
  }

  override cancelInFlight(): void {
    this.#member.cancel(
      new BlockError(
        'ECANCELED',
        `Cannot go on with requests on node "${this.name}": they were cancelled`,
      ),
    );
    super.cancelInFlight();
  }

  /** The child lives on; whoever opened it closes it. */
  override async close(): Promise<void> {
    this.#member.leave();
    this.#use.release();
  }

  protected override doRead(offset: number, buffer: Buffer): Completion {
    return this.#throttled('read', buffer.length, () => this.child.read(offset, buffer));
  }

  protected override doWrite(offset: number, data: Buffer, flags: number): Completion {
    return this.#throttled('write', data.length, () => this.child.write(offset, data, flags));
  }

  protected override doWriteZeroes(offset: number, length: number, flags: number): Completion {
    return this.#throttled('write', length, () => this.child.writeZeroes(offset, length, flags));
  }

  protected override doDiscard(offset: number, length: number, flags: number): Completion {
    return this.#throttled('write', length, () => this.child.discard(offset, length, flags));
  }

  #throttled(direction: Direction, bytes: number, request: () => Completion): Completion {
    const turn = this.#member.admit(direction, bytes);
    return turn === undefined ? request() : turn.then(request);
  }
}
