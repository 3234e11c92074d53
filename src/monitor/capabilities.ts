import { checkArguments } from '../../protocol/qmp/check-arguments.ts';
import { QmpError } from '../../protocol/qmp/error.ts';

/** What a client has asked for with qmp_capabilities. */
export interface Capabilities {
  /** Commands out of band: `exec-oob` is understood. */
  readonly oob: boolean;
  /** What it shows where one is needed. */
  readonly token: string | undefined;
}

/** Reads the arguments of qmp_capabilities, which a client sends once. */
export function readCapabilities(given: object, alreadyNegotiated: boolean): Capabilities {
  const { enable = [], 'x-token': token } = checkArguments('qmp_capabilities', given);
  if (alreadyNegotiated) {
    const desc = 'Capabilities negotiation is already complete, command ignored';
    throw new QmpError(desc, 'CommandNotFound');
  }
  return { oob: enable.includes('oob'), token };
}
