import { getSystemErrorMap } from 'node:util';
import { strerror } from '../util/errors.ts';

/** A failed system call as Node's own `fs` reports it: `code` is the errno's name. */
export function systemError(call: string, errno: number): NodeJS.ErrnoException {
  const [code, text] = getSystemErrorMap().get(-errno) ?? ['UNKNOWN', 'unknown error'];
  const error: NodeJS.ErrnoException = new Error(`${code}: ${text}, ${call}`);
  return Object.assign(error, { code, errno: -errno, syscall: call });
}

/**
 * As `strerror` says it: "No such file or directory"; the error's own message if it has no errno.
 */
export function describeError(error: unknown): string {
  if (isUnsupported(error)) return strerror('ENOTSUP');
  const { errno } = error as NodeJS.ErrnoException;
  const text = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1];
  if (text === undefined) return error instanceof Error ? error.message : String(error);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const UNSUPPORTED = new Set(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENOTTY']);

/** The kernel, the file system or the device cannot do this at all: asking again is useless. */
export function isUnsupported(error: unknown): boolean {
  return UNSUPPORTED.has((error as NodeJS.ErrnoException).code ?? '');
}

/** A failure that is ours to name, in the form of the kernel's. */
export function errorWithCode(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(message), { code });
}

/** A read found the end of a file at `bytes`, or before: a disk has a fixed size. */
export function hasShrunk(bytes: number): NodeJS.ErrnoException {
  return errorWithCode('EIO', `the file has shrunk: it has at most ${bytes} bytes`);
}
