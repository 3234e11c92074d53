import type { BLOCK_COMMANDS } from '../../../protocol/qmp/schema/block.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { NodeStore } from '../../block/node-store.ts';
import { resizeNode } from '../../block/resize-node.ts';
import { RefusedError } from '../../util/errors.ts';
import type { Handlers } from '../handlers.ts';
import { describeNode } from '../node-info.ts';

/** Block nodes: add, remove, show. */
export function blockCommands(
  graph: BlockGraph,
  nodes: NodeStore,
): Handlers<keyof typeof BLOCK_COMMANDS> {
  return {
    'blockdev-add': async (options) => {
      await nodes.add(options);
      return undefined;
    },
    'blockdev-del': async (given) => {
      await nodes.remove(given['node-name']);
      return undefined;
    },
    'blockdev-reopen': async ({ options }) => {
      await nodes.reopen(options);
      return undefined;
    },
    // Without a guest there is no device: the name is looked for among nodes alone.
    block_resize: async ({ device = '', 'node-name': name = '', size }) => {
      const node = graph.find(name);
      if (node === undefined) {
        throw new RefusedError(`Cannot find device='${device}' nor node-name='${name}'`);
      }
      if (size < 0) throw new RefusedError("Parameter 'size' expects a >0 size");
      await resizeNode(graph, node, size);
      return undefined;
    },
    'query-named-block-nodes': () =>
      [...graph.nodes()].reverse().map((node) => describeNode(node, (one) => nodes.optionsOf(one))),
    // Devices of a guest, which is what QEMU lists here, do not exist without a guest.
    'query-block': () => [],
  };
}
