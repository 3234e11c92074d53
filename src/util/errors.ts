import { AssertionError } from './assert.ts';

/**
 * The errors that callers tell apart. Each class says who handles it:
 * `BlockError` the NBD server, the job's error policy or QMP; `ProtocolError` ends one connection;
 * `UsageError` ends a command with exit code 1; `RefusedError` is what QMP answers (a client of QMP
 * gets it as `QmpError`, in `protocol/qmp`).
 */

/** errno names as Node spells them in `error.code`. */
export type Errno =
  | 'EPERM'
  | 'EIO'
  | 'ENOMEM'
  | 'EINVAL'
  | 'ENOSPC'
  | 'EOVERFLOW'
  | 'ENOTSUP'
  | 'ESHUTDOWN'
  | 'ECANCELED';

/** What `strerror` says: QMP's job errors are these sentences. */
const SENTENCE: Record<Errno, string> = {
  EPERM: 'Operation not permitted',
  EIO: 'Input/output error',
  ENOMEM: 'Cannot allocate memory',
  EINVAL: 'Invalid argument',
  ENOSPC: 'No space left on device',
  EOVERFLOW: 'Value too large for defined data type',
  ENOTSUP: 'Operation not supported',
  ESHUTDOWN: 'Cannot send after transport endpoint shutdown',
  ECANCELED: 'Operation canceled',
};

export function strerror(code: Errno): string {
  return SENTENCE[code];
}

/** An operating error of a node: `code` goes to clients, `message` to people. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
  readonly code: Errno;

  constructor(code: Errno, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The peer broke the protocol (or stopped talking in the middle): its connection ends. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** Wrong use or a refused start: one sentence on stderr, exit code 1. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const NO_SPACE = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const NOT_PERMITTED = new Set(['EPERM', 'EROFS', 'EACCES', 'EBADF']);

/**
 * Any failure as a `BlockError`, but for our own mistakes, which are thrown on. `doing` is the
 * action and its object, as in `Cannot write 4096 bytes at 0 to node "disk0"`.
 */
export function asBlockError(error: unknown, doing: string): BlockError {
  if (error instanceof BlockError) return error;
  if (error instanceof AssertionError) throw error;
  const code = errnoOf((error as { code?: unknown }).code);
  const cause = error instanceof Error ? error.message : String(error);
  return new BlockError(code, `${doing}: ${cause}`, { cause: error });
}

function errnoOf(code: unknown): Errno {
  if (typeof code !== 'string') return 'EIO';
  if (NO_SPACE.has(code)) return 'ENOSPC';
  if (NOT_PERMITTED.has(code)) return 'EPERM';
  if (code === 'EOPNOTSUPP') return 'ENOTSUP';
  return Object.hasOwn(SENTENCE, code) ? (code as Errno) : 'EIO';
}

export type ErrorClass =
  | 'GenericError'
  | 'CommandNotFound'
  | 'DeviceNotActive'
  | 'DeviceNotFound'
  | 'KVMMissingCap';

/**
 * A request of an operator that is refused; the monitor answers it with this class and sentence.
 */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly errorClass: ErrorClass;

  constructor(message: string, errorClass: ErrorClass = 'GenericError') {
    super(message);
    this.errorClass = errorClass;
  }
}
