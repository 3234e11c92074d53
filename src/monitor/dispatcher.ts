import { checkArguments } from '../../protocol/qmp/check-arguments.ts';
import type { CommandDefinition } from '../../protocol/qmp/definition.ts';
import type { Version } from '../../protocol/qmp/envelope.ts';
import { QmpError } from '../../protocol/qmp/error.ts';
import {
  type Arguments,
  COMMANDS,
  type CommandName,
  isCommandName,
  type Returns,
} from '../../protocol/qmp/schema.ts';
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
  readonly #running = new Set<Promise<unknown>>();
  #isClosing = false;

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
  async execute(command: string, given: object = {}, outOfBand = false): Promise<unknown> {
    if (outOfBand && isCommandName(command) && !mayOvertake(command)) {
      throw new QmpError(`The command ${command} does not support OOB`);
    }
    if (!this.#isExecutable(command)) {
      throw new QmpError(`The command ${command} has not been found`, 'CommandNotFound');
    }
    if (this.#isClosing) {
      throw new QmpError(`The daemon is closing: the command ${command} comes too late`);
    }
    const checked = checkArguments(command, given);
    const running = this.#run(command, checked);
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      throw refusalOf(error);
    } finally {
      this.#running.delete(running);
    }
  }

  /**
   * Takes no commands any more; resolves when those that run have ended. What they set up must be
   * there before everything is taken down.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.allSettled(this.#running);
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

  async #run(command: ExecutableName, checked: object): Promise<unknown> {
    return (this.#handlers[command] as (given: object) => unknown)(checked);
  }
}

function mayOvertake(command: CommandName): boolean {
  const { allowOob }: CommandDefinition = COMMANDS[command];
  return allowOob === true;
}

/** Refusals as QMP tells them; anything else is a bug and goes on as it is. */
function refusalOf(error: unknown): unknown {
  if (error instanceof RefusedError) return new QmpError(error.message, error.errorClass);
  const isOperating =
    error instanceof BlockError || error instanceof UsageError || error instanceof ProtocolError;
  return isOperating ? new QmpError(error.message) : error;
}
