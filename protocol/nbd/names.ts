import * as wire from './constants.ts';

/** Names of numbers on the wire, so that logs and errors print words. */
type NameOf = (value: number) => string;

/** Constants with `prefix`, but only those that are values of the group and not bits or limits. */
function nameTable(group: string, prefix: string, except: readonly string[] = []): NameOf {
  const names = new Map<number, string>();
  for (const [name, value] of Object.entries(wire)) {
    if (!name.startsWith(prefix) || except.some((other) => name.startsWith(other))) continue;
    names.set(value as number, name);
  }
  return (value) => names.get(value) ?? `${group} ${value < 0x8000 ? value : hex(value)}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** `NBD_OPT_GO`, or `option 77`. */
export const nameOfOption = nameTable('option', 'NBD_OPT_');
/** `NBD_REP_ERR_UNKNOWN`, or `reply 0x8000ffff`. */
export const nameOfReply = nameTable('reply', 'NBD_REP_', ['NBD_REP_MAGIC', 'NBD_REP_FLAG']);
/** `NBD_INFO_EXPORT`, or `information 9`. */
export const nameOfInfo = nameTable('information', 'NBD_INFO_');
/** `NBD_CMD_WRITE`, or `command 99`. */
export const nameOfCommand = nameTable('command', 'NBD_CMD_', ['NBD_CMD_FLAG']);
/** `NBD_REPLY_TYPE_OFFSET_DATA`, or `chunk type 9`. */
export const nameOfChunk = nameTable('chunk type', 'NBD_REPLY_TYPE_', ['NBD_REPLY_TYPE_ERROR_BIT']);
/** `NBD_ENOSPC`, or `error 7`. */
export const nameOfError = nameTable('error', 'NBD_E', ['NBD_EXTENDED']);
