import type { Version } from '../../../protocol/qmp/envelope.ts';
import { commandInfo, schemaInfo } from '../../../protocol/qmp/introspection.ts';
import type { Clock } from '../../util/clock.ts';
import type { Handlers } from '../handlers.ts';

/** Who we are, what we understand, and the end. */
type ControlName = 'query-version' | 'query-commands' | 'query-qmp-schema' | 'quit';

export function controlCommands(options: {
  readonly version: Version;
  readonly clock: Clock;
  /** Called when the reply to `quit` is on its way. */
  readonly onQuit: () => void;
}): Handlers<ControlName> {
  return {
    'query-version': () => options.version,
    'query-commands': commandInfo,
    'query-qmp-schema': schemaInfo,
    quit: () => {
      options.clock.defer(options.onQuit);
    },
  };
}
