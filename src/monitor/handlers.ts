import type { Arguments, CommandName, Returns } from '../../protocol/qmp/schema.ts';

/**
 * What a command does: from checked arguments to what it returns. It refuses by throwing
 * `RefusedError`; a `BlockError`, `UsageError` or `ProtocolError` from below is a refusal too.
 */
export type Handler<Name extends CommandName> = (
  given: Arguments<Name>,
) => Returns<Name> | Promise<Returns<Name>>;

export type Handlers<Name extends CommandName> = { readonly [K in Name]: Handler<K> };

/** Every command but the one that belongs to a session. */
export type ExecutableName = Exclude<CommandName, 'qmp_capabilities'>;
