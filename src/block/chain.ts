import type { BlockNode, DiskRange } from './node.ts';

/** The node and what it stands on. */
export function chainOf(node: BlockNode): readonly BlockNode[] {
  return node.child === undefined ? [node] : [node, ...chainOf(node.child)];
}

/** Undefined when two nodes have no byte in common, else the highest node that both stand on. */
export function sharedNode(a: BlockNode, b: BlockNode): BlockNode | undefined {
  const below = chainOf(b);
  const node = chainOf(a).find((one) => below.includes(one));
  if (node === undefined) return undefined;
  const [one, other] = [reachOf(a, node), reachOf(b, node)];
  const overlap =
    one.offset < other.offset + other.length && other.offset < one.offset + one.length;
  return overlap ? node : undefined;
}

/** The part of `lower` that requests to `upper` reach. */
function reachOf(upper: BlockNode, lower: BlockNode): DiskRange {
  const chain = chainOf(upper);
  const above = chain.slice(0, chain.indexOf(lower));
  const offset = above.reduce((sum, node) => sum + node.childOffset, 0);
  return { offset, length: upper.size };
}
