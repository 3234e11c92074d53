import { chainOf } from '../block/chain.ts';
import type { BlockGraph } from '../block/graph.ts';
import { MirrorTop } from '../block/mirror-top.ts';
import type { BlockNode } from '../block/node.ts';
import { RefusedError } from '../util/errors.ts';

/**
 * Throws `RefusedError` when clients of the filter `top` cannot move to the target of job `id`,
 * because other mirrors would not know of it. (QEMU has no such mirrors: the second is refused.)
 */
export function assertMayPivot(id: string, top: MirrorTop, graph: BlockGraph): void {
  const refuse = (why: string) => {
    throw new RefusedError(`Job '${id}' cannot be completed yet: ${why}; end that one first`);
  };
  // Also below a window on the disk, which came when that was mirrored already.
  const below = chainOf(top.child).find((node) => node instanceof MirrorTop);
  if (below !== undefined) {
    const filter = `the mirror with filter '${below.name}'`;
    refuse(`${filter} sits below it and would see no more writes`);
  }
  // Filters of other mirrors may sit between it and a job that writes to their source.
  const filters: BlockNode[] = [top];
  for (const filter of filters) {
    filters.push(...graph.parentsOf(filter).filter((parent) => parent instanceof MirrorTop));
  }
  const uses = filters.flatMap((filter) => graph.usersOf(filter));
  const upstream = uses.find(({ user }) => user.kind === 'job');
  if (upstream !== undefined) {
    refuse(`job '${upstream.user.name}' mirrors to its source, and would go on to another disk`);
  }
}
