import * as wire from './constants.ts';

/**
 * Names of errno to error values of the wire, and back. The specification knows eight values and
 * says where two of them may appear; everything else becomes one of these.
 */

/** What the request was, as far as it decides which errors may answer it. */
export interface AnsweredRequest {
  /** NBD_CMD_*. */
  readonly type: number;
  /** NBD_CMD_FLAG_*. */
  readonly flags: number;
}

const VALUE_OF_ERRNO = {
  EPERM: wire.NBD_EPERM,
  EIO: wire.NBD_EIO,
  ENOMEM: wire.NBD_ENOMEM,
  EINVAL: wire.NBD_EINVAL,
  ENOSPC: wire.NBD_ENOSPC,
  EOVERFLOW: wire.NBD_EOVERFLOW,
  ENOTSUP: wire.NBD_ENOTSUP,
  ESHUTDOWN: wire.NBD_ESHUTDOWN,
};

/** Names of errno that have a value. */
export type WireErrno = keyof typeof VALUE_OF_ERRNO;

/** The error value that answers `request` for a failure with this errno; EIO if it has none. */
export function errorOfErrno(errno: string, request: AnsweredRequest): number {
  const value = (VALUE_OF_ERRNO as Record<string, number>)[errno] ?? wire.NBD_EIO;
  if (value === wire.NBD_ENOTSUP && !isFastZero(request)) return wire.NBD_EINVAL;
  if (value === wire.NBD_EOVERFLOW && !mayOverflow(request)) return wire.NBD_EINVAL;
  return value;
}

const ERRNO_OF_VALUE = new Map<number, WireErrno>(
  Object.entries(VALUE_OF_ERRNO).map(([errno, value]) => [value, errno as WireErrno]),
);

/**
 * A value that the specification does not know counts as EINVAL. ENOTSUP is the answer to a fast
 * zero, and says that nothing has been changed; elsewhere it is a failure like any other.
 */
export function errnoOfError(value: number, request: AnsweredRequest): WireErrno {
  if (value === wire.NBD_ENOTSUP && !isFastZero(request)) return 'EIO';
  return ERRNO_OF_VALUE.get(value) ?? 'EINVAL';
}

function isFastZero(request: AnsweredRequest): boolean {
  return (
    request.type === wire.NBD_CMD_WRITE_ZEROES &&
    (request.flags & wire.NBD_CMD_FLAG_FAST_ZERO) !== 0
  );
}

/** Only a command without payload can be too long for us; a WRITE cannot. */
function mayOverflow(request: AnsweredRequest): boolean {
  return request.type !== wire.NBD_CMD_WRITE;
}
