import {
  type BlockFeatures,
  type BlockLimits,
  BlockNode,
  type Completion,
  type Extent,
} from './node.ts';

/** A node on top of another: what it does not change of requests and answers passes here. */
export abstract class FilterNode extends BlockNode {
  abstract override get child(): BlockNode;

  override get size(): number {
    return this.child.size;
  }

  override get readOnly(): boolean {
    return this.child.readOnly;
  }

  override get limits(): BlockLimits {
    return this.child.limits;
  }

  override get features(): BlockFeatures {
    return this.child.features;
  }

  override cancelInFlight(): void {
    this.child.cancelInFlight();
  }

  protected override doRead(offset: number, buffer: Buffer): Completion {
    return this.child.read(offset, buffer);
  }

  protected override doFlush(): Completion {
    return this.child.flush();
  }

  protected override doBlockStatus(
    offset: number,
    length: number,
    extentsMax: number,
  ): readonly Extent[] | Promise<readonly Extent[]> {
    return this.child.blockStatus(offset, length, extentsMax);
  }

  protected override doPrefetch(offset: number, length: number): Completion {
    return this.child.prefetch(offset, length);
  }
}
