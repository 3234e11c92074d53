import { readFileSync, statSync } from 'node:fs';
import { UsageError } from '../util/errors.ts';

/** The line in a file that holds a secret. `UsageError` when it cannot be read, or by everybody. */
export function readTokenFile(path: string): string {
  try {
    if ((statSync(path).mode & 0o007) === 0) return readFileSync(path, 'utf8').trimEnd();
  } catch (error) {
    throw new UsageError(`Cannot read the token file ${path}: ${(error as Error).message}`);
  }
  throw new UsageError(`Cannot use the token file ${path}: everybody can read it (chmod 600)`);
}
