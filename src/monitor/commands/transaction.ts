import type {
  BITMAP_COMMANDS,
  TRANSACTION_COMMANDS,
} from '../../../protocol/qmp/schema/bitmaps.ts';
import type { Qmp } from '../../../protocol/qmp/schema.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { RefusedError } from '../../util/errors.ts';
import type { Handlers } from '../handlers.ts';
import { findRemovable } from './bitmaps.ts';

/**
 * Several changes of bitmaps, all or none. They happen in one turn of the event loop, so no
 * client's write falls between them; when one is refused, those before it are taken back, the last
 * one first. A bitmap that is to be removed is busy until all have succeeded and goes only then.
 */
type Action = Qmp<'TransactionAction'>;

/** What is left to do for an action once the fate of the whole is known. */
interface Done {
  readonly undo: () => void;
  readonly commit?: () => void;
}

export function transactionCommands(
  graph: BlockGraph,
  bitmaps: Handlers<keyof typeof BITMAP_COMMANDS>,
): Handlers<keyof typeof TRANSACTION_COMMANDS> {
  return {
    transaction: ({ actions, properties }) => {
      if (properties?.['completion-mode'] === 'grouped') refuseGrouped(actions);
      const done: Done[] = [];
      try {
        for (const action of actions) done.push(run(graph, bitmaps, action));
      } catch (error) {
        for (const { undo } of done.reverse()) undo();
        throw error;
      }
      for (const { commit } of done) commit?.();
    },
  };
}

function refuseGrouped(actions: readonly Action[]): void {
  const [first] = actions;
  if (first === undefined) return;
  throw new RefusedError(
    `Action '${first.type}' does not support transaction property completion-mode = grouped`,
  );
}

/** Does the action, as its command would. What it names may be missing: the command says so. */
function run(
  graph: BlockGraph,
  bitmaps: Handlers<keyof typeof BITMAP_COMMANDS>,
  action: Action,
): Done {
  switch (action.type) {
    case 'abort':
      throw new RefusedError('Transaction aborted using Abort action');
    case 'block-dirty-bitmap-add': {
      const { node: nodeName, name } = action.data;
      bitmaps[action.type](action.data);
      const node = graph.find(nodeName)!;
      return { undo: () => node.removeBitmap(node.findBitmap(name)!) };
    }
    case 'block-dirty-bitmap-remove': {
      const { node, bitmap } = findRemovable(graph, action.data);
      bitmap.busy = true;
      return {
        undo: () => {
          bitmap.busy = false;
        },
        commit: () => node.removeBitmap(bitmap),
      };
    }
    case 'block-dirty-bitmap-enable':
    case 'block-dirty-bitmap-disable': {
      const { node: nodeName, name } = action.data;
      const node = graph.find(nodeName);
      const bitmap = node?.findBitmap(name);
      const enabled = bitmap?.enabled;
      const saved = bitmap?.snapshot();
      bitmaps[action.type](action.data);
      return {
        undo: () => {
          node!.setRecording(bitmap!, enabled!);
          // One that records is marked with what has arrived of WRITEs that are not answered.
          bitmap!.restore(saved!);
        },
      };
    }
    case 'block-dirty-bitmap-clear':
    case 'block-dirty-bitmap-merge': {
      const { data } = action;
      const name = 'target' in data ? data.target : data.name;
      const bitmap = graph.find(data.node)?.findBitmap(name);
      const saved = bitmap?.snapshot();
      if (action.type === 'block-dirty-bitmap-clear') bitmaps[action.type](action.data);
      else bitmaps[action.type](action.data);
      return { undo: () => bitmap!.restore(saved!) };
    }
  }
}
