import type { Version } from '../../protocol/qmp/envelope.ts';
import { bitmapCommands } from './commands/bitmaps.ts';
import { blockCommands } from './commands/block.ts';
import { controlCommands } from './commands/control.ts';
import { exportCommands } from './commands/exports.ts';
import { jobCommands } from './commands/jobs.ts';
import { mirrorCommands } from './commands/mirror.ts';
import { objectCommands } from './commands/objects.ts';
import { transactionCommands } from './commands/transaction.ts';
import { yankCommands } from './commands/yank.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Storage } from './storage.ts';

/** The version of QEMU whose commands these are: clients decide by it what they may use. */
const QEMU_VERSION = { micro: 0, minor: 1, major: 10 } as const;

/** Every command, bound to what it acts on. */
export function createDispatcher(
  storage: Storage,
  options: {
    /** Our own version: `package` of query-version. */
    readonly packageVersion: string;
    /** Somebody has said `quit`, and has been answered. */
    readonly onQuit: () => void;
  },
): Dispatcher {
  const { clock, graph, nodes, objects, jobs, nbd, events } = storage;
  const version: Version = {
    qemu: QEMU_VERSION,
    package: `nbd-mirror ${options.packageVersion}`,
  };
  const bitmaps = bitmapCommands(graph);
  return new Dispatcher({
    version,
    subscribe: (listener) => events.subscribe(listener),
    handlers: {
      ...controlCommands({ version, clock, onQuit: options.onQuit }),
      ...yankCommands(graph),
      ...blockCommands(graph, nodes),
      ...objectCommands(objects),
      ...bitmaps,
      ...transactionCommands(graph, bitmaps),
      ...exportCommands(graph, nbd, objects),
      ...mirrorCommands(graph, nodes, jobs),
      ...jobCommands(jobs),
    },
  });
}
