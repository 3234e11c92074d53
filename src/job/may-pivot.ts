import type { BlockGraph } from '../block/graph.ts';
import { MirrorTop } from '../block/mirror-top.ts';
import { RefusedError } from '../util/errors.ts';

/**
 * Throws `RefusedError` when clients of the filter `top` cannot move to the target of job `id`,
 * because other mirrors would not know of it. (QEMU has no such mirrors: the second is refused.)
 */
export function assertMayPivot(id: string, top: MirrorTop, graph: BlockGraph): void {
  const refuse = (why: string) => {
    throw new RefusedError(`Job '${id}' cannot be completed yet: ${why}; end that one first`);
  };
  const { child } = top;
  if (child instanceof MirrorTop) {
    const filter = `the mirror with filter '${child.name}'`;
    refuse(`${filter} sits below it and would see no more writes`);
  }
  const upstream = graph.usersOf(top).find(({ user }) => user.kind === 'job');
  if (upstream !== undefined) {
    refuse(`job '${upstream.user.name}' mirrors to its source, and would go on to another disk`);
  }
}
