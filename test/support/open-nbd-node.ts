import { NbdNode, type OpenNbdOptions } from '../../src/block/nbd-node.ts';
import { systemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import { currentScope } from './peers.ts';

/** Opens node `target` on a Unix socket; closed with the test. */
export async function openNbdNode(
  socket: string,
  options: Partial<OpenNbdOptions> = {},
): Promise<NbdNode> {
  const node = await NbdNode.open({
    name: 'target',
    address: { type: 'unix', path: socket },
    exportName: '',
    clock: systemClock,
    log: silentLog,
    ...options,
  });
  currentScope().onClose(() => node.close());
  return node;
}
