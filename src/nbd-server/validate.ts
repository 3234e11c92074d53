import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from '../../protocol/nbd/constants.ts';
import type { RequestHeader } from '../../protocol/nbd/transmission.ts';
import type { Errno } from '../util/errors.ts';
import { NBD_PAYLOAD_BYTES_MAX } from '../util/limits.ts';

/**
 * The only place where a client's request is judged; everything behind it may assert. The order of
 * the checks is that of importance to the client: what it asks for, whether it may, where.
 */
export interface Terms {
  /** Size of the export in bytes, as the client was told. */
  readonly size: number;
  readonly writable: boolean;
  /** Structured replies were agreed. */
  readonly structured: boolean;
  /** The client selected at least one metadata context. */
  readonly hasContexts: boolean;
}

export interface Refusal {
  readonly code: Errno;
  readonly reason: string;
}

export const SHUTTING_DOWN: Refusal = { code: 'ESHUTDOWN', reason: 'the server is shutting down' };

interface Rule {
  readonly flags: number;
  readonly writes: boolean;
  /** What a range past the end gets; undefined when the command has no range. */
  readonly pastEnd: Errno | undefined;
  /** The length is that of a payload, in one direction or the other. */
  readonly payload: boolean;
}

const rule = (
  flags: number,
  writes: boolean,
  pastEnd: Errno | undefined,
  payload = false,
): Rule => ({
  flags: flags | NBD_CMD_FLAG_FUA,
  writes,
  pastEnd,
  payload,
});

const RULES: Record<number, Rule> = {
  [NBD_CMD_READ]: rule(NBD_CMD_FLAG_DF, false, 'EINVAL', true),
  [NBD_CMD_WRITE]: rule(0, true, 'ENOSPC', true),
  [NBD_CMD_FLUSH]: rule(0, false, undefined),
  [NBD_CMD_TRIM]: rule(0, true, 'EINVAL'),
  [NBD_CMD_CACHE]: rule(0, false, 'EINVAL'),
  [NBD_CMD_WRITE_ZEROES]: rule(NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO, true, 'ENOSPC'),
  [NBD_CMD_BLOCK_STATUS]: rule(NBD_CMD_FLAG_REQ_ONE, false, 'EINVAL'),
};

/** Why the request cannot be served; undefined when it can. */
export function refusalOf(request: RequestHeader, terms: Terms): Refusal | undefined {
  const { type, flags, offset, length } = request;
  const rule = RULES[type];
  if (rule === undefined) return { code: 'EINVAL', reason: `unknown command ${type}` };
  if ((flags & ~rule.flags) !== 0) return { code: 'EINVAL', reason: `flags ${flags} not allowed` };
  if ((flags & NBD_CMD_FLAG_DF) !== 0 && !terms.structured) {
    return { code: 'EINVAL', reason: 'DF without structured replies' };
  }
  if (rule.writes && !terms.writable) return { code: 'EPERM', reason: 'the export is read-only' };
  if (rule.payload && length > NBD_PAYLOAD_BYTES_MAX) {
    return { code: 'EINVAL', reason: `more than ${NBD_PAYLOAD_BYTES_MAX} bytes of payload` };
  }
  if (rule.pastEnd !== undefined && (offset < 0 || offset + length > terms.size)) {
    const where = offset < 0 ? '2^53 or more' : offset;
    const reason = `${length} bytes at ${where} pass the end of the export at ${terms.size}`;
    return { code: rule.pastEnd, reason };
  }
  if (type === NBD_CMD_BLOCK_STATUS) {
    if (!terms.hasContexts) return { code: 'EINVAL', reason: 'no metadata context was negotiated' };
    if (length === 0) return { code: 'EINVAL', reason: 'block status of nothing' };
  }
  return undefined;
}
