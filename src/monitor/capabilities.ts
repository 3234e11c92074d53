import { checkArguments } from '../../protocol/qmp/check-arguments.ts';
import { QmpError } from '../../protocol/qmp/error.ts';

/**
 * qmp_capabilities. The schema knows the capability `oob` (commands out of band); this monitor does
 * not offer it.
 */
export function checkCapabilities(given: object, alreadyNegotiated: boolean): void {
  const { enable = [] } = checkArguments('qmp_capabilities', given);
  if (alreadyNegotiated) {
    const desc = 'Capabilities negotiation is already complete, command ignored';
    throw new QmpError(desc, 'CommandNotFound');
  }
  for (const capability of enable) throw new QmpError(`Capability ${capability} not available`);
}
