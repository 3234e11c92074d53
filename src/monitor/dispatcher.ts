import { checkArguments } from '../../protocol/qmp/check-arguments.ts';
import type { Version } from '../../protocol/qmp/envelope.ts';
import { QmpError } from '../../protocol/qmp/error.ts';
import type { Arguments, Returns } from '../../protocol/qmp/schema.ts';
import { BlockError, ProtocolError, RefusedError, UsageError } from '../util/errors.ts';
import type { EventListener } from './event-bus.ts';
import type { ExecutableName, Handlers } from './handlers.ts';

/**
 * Name and arguments -> what a command returns. Sessions call it with what they were sent; the
 * daemon calls it in the process, so that a command line and a socket take the same way.
 */
export class Dispatcher {
  readonly version: Version;
  readonly #handlers: Handlers<ExecutableName>;
  readonly #subscribe: (listener: EventListener) => () => void;

  constructor(options: {
    readonly version: Version;
    readonly handlers: Handlers<ExecutableName>;
    readonly subscribe: (listener: EventListener) => () => void;
  }) {
    this.version = options.version;
    this.#handlers = options.handlers;
    this.#subscribe = options.subscribe;
  }

  /** Checks and runs any command. Rejects with `QmpError` when it is unknown or refused. */
  async execute(command: string, given: object = {}): Promise<unknown> {
    if (!this.#isExecutable(command)) {
      throw new QmpError(`The command ${command} has not been found`, 'CommandNotFound');
    }
    const checked = checkArguments(command, given);
    try {
      return await (this.#handlers[command] as (given: object) => unknown)(checked);
    } catch (error) {
      throw refusalOf(error);
    }
  }

  /** `execute` for code that knows the command: typed. */
  call<Name extends ExecutableName>(
    command: Name,
    ...given: Record<never, never> extends Arguments<Name> ? [Arguments<Name>?] : [Arguments<Name>]
  ): Promise<Returns<Name>> {
    return this.execute(command, given[0]) as Promise<Returns<Name>>;
  }

  /** Calls `listener` for every event from now on, until the returned function is called. */
  onEvent(listener: EventListener): () => void {
    return this.#subscribe(listener);
  }

  #isExecutable(command: string): command is ExecutableName {
    return Object.hasOwn(this.#handlers, command);
  }
}

/** Refusals as QMP tells them; anything else is a bug and goes on as it is. */
function refusalOf(error: unknown): unknown {
  if (error instanceof RefusedError) return new QmpError(error.message, error.errorClass);
  const isOperating =
    error instanceof BlockError || error instanceof UsageError || error instanceof ProtocolError;
  return isOperating ? new QmpError(error.message) : error;
}
