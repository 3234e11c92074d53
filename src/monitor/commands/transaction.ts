import type {
  BITMAP_COMMANDS,
  TRANSACTION_COMMANDS,
} from '../../../protocol/qmp/schema/bitmaps.ts';
import type { Qmp } from '../../../protocol/qmp/schema.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { RefusedError } from '../../util/errors.ts';
import type { Handlers } from '../handlers.ts';

/**
 * Several changes of bitmaps, all or none. They happen in one turn of the event loop, so no
 * client's write falls between them; when one is refused, those before it are taken back, the last
 * one first.
 */
type Action = Qmp<'TransactionAction'>;

export function transactionCommands(
  graph: BlockGraph,
  bitmaps: Handlers<keyof typeof BITMAP_COMMANDS>,
): Handlers<keyof typeof TRANSACTION_COMMANDS> {
  return {
    transaction: ({ actions, properties }) => {
      if (properties?.['completion-mode'] === 'grouped') refuseGrouped(actions);
      const undo: (() => void)[] = [];
      try {
        for (const action of actions) {
          const back = undoOf(graph, action);
          run(bitmaps, action);
          undo.push(back);
        }
      } catch (error) {
        for (const back of undo.reverse()) back();
        throw error;
      }
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

function run(bitmaps: Handlers<keyof typeof BITMAP_COMMANDS>, action: Action): void {
  switch (action.type) {
    case 'abort':
      throw new RefusedError('Transaction aborted using Abort action');
    case 'block-dirty-bitmap-add':
      bitmaps[action.type](action.data);
      break;
    case 'block-dirty-bitmap-merge':
      bitmaps[action.type](action.data);
      break;
    default:
      bitmaps[action.type](action.data);
  }
}

/**
 * How to take the action back once it has happened; what it names may be missing: it fails then.
 */
function undoOf(graph: BlockGraph, action: Action): () => void {
  if (action.type === 'abort') return () => {};
  const { data } = action;
  const node = graph.find(data.node);
  const name = 'target' in data ? data.target : data.name;
  const bitmap = node?.findBitmap(name);
  if (node === undefined) return () => {};
  if (action.type === 'block-dirty-bitmap-add') {
    return () => node.removeBitmap(node.findBitmap(name)!);
  }
  if (bitmap === undefined) return () => {};
  switch (action.type) {
    case 'block-dirty-bitmap-remove':
      return () => node.addBitmap(bitmap);
    case 'block-dirty-bitmap-enable':
    case 'block-dirty-bitmap-disable': {
      const { enabled } = bitmap;
      return () => node.setRecording(bitmap, enabled);
    }
    case 'block-dirty-bitmap-clear':
    case 'block-dirty-bitmap-merge': {
      const saved = bitmap.snapshot();
      return () => bitmap.restore(saved);
    }
  }
}
