import { NbdNode, type OpenNbdOptions } from '../../src/block/nbd-node.ts';
import { loadSyscalls } from '../../src/sys/syscalls.ts';
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
    syscalls: loadSyscalls({ ffi: true, log: silentLog }),
    clock: systemClock,
    log: silentLog,
    ...options,
  });
  currentScope().onClose(() => node.close());
  return node;
}
