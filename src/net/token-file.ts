import { readFileSync, statSync } from 'node:fs';
import { UsageError } from '../util/errors.ts';

/**
 * The line in a file that holds a secret. `UsageError` when it cannot be read, or is open to
 * everybody, or is something else.
 */
export function readTokenFile(path: string): string {
  const cannotUse = `Cannot use the token file ${path}`;
  let text: string;
  try {
    if ((statSync(path).mode & 0o007) !== 0) {
      throw new UsageError(`${cannotUse}: it is open to everybody (chmod 600)`);
    }
    text = readFileSync(path, 'utf8').trimEnd();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`Cannot read the token file ${path}: ${(error as Error).message}`);
  }
  if (/^[!-~]+$/.test(text)) return text;
  throw new UsageError(`${cannotUse}: a token is one line without blanks`);
}
