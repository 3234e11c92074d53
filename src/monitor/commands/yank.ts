import type { BlockGraph } from '../../block/graph.ts';
import { NbdNode } from '../../block/nbd-node.ts';
import { RefusedError } from '../../util/errors.ts';
import type { Handlers } from '../handlers.ts';

/**
 * Giving up on a server that does not answer: its connection is cut and what waited for it fails,
 * so that the commands behind it come to an end. Out of band, since one of them may be running.
 */
export function yankCommands(graph: BlockGraph): Handlers<'yank' | 'query-yank'> {
  return {
    // All or none: as QEMU, nothing is cut when one of them is not there.
    yank: ({ instances }) => {
      const nodes = instances.map((instance) => {
        const node = graph.find(instance['node-name']);
        if (node instanceof NbdNode) return node;
        throw new RefusedError('Instance not found', 'DeviceNotFound');
      });
      for (const node of nodes) node.cancelInFlight();
    },
    'query-yank': () =>
      graph
        .nodes()
        .filter((node) => node instanceof NbdNode)
        .map((node) => ({ type: 'block-node', 'node-name': node.name })),
  };
}
