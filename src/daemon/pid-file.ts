import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { UsageError } from '../util/errors.ts';

/** Written when clients can connect, removed at a clean end; a stale one is replaced. */
export class PidFile {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** `UsageError` when it cannot be written, or names a process that is alive. */
  static write(path: string, pid: number): PidFile {
    const owner = readOwner(path);
    if (owner !== undefined && owner !== pid && isAlive(owner)) {
      throw new UsageError(`Cannot write pid file ${path}: process ${owner} has it and is running`);
    }
    try {
      writeFileSync(path, `${pid}\n`);
    } catch (error) {
      throw new UsageError(`Cannot write pid file ${path}: ${(error as Error).message}`);
    }
    return new PidFile(path);
  }

  remove(): void {
    try {
      unlinkSync(this.#path);
    } catch {
      // Somebody else removed it: gone is what was wanted.
    }
  }
}

function readOwner(path: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(path, 'utf8'), 10);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
