import { readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { UsageError } from '../util/errors.ts';

/**
 * There when clients can connect, and gone after a clean end. A stale one is replaced. It is
 * written beside its place first, so that what stands in its way is known before anything is done,
 * and nobody ever reads half of it.
 */
export class PidFile {
  readonly #path: string;
  readonly #pid: number;

  private constructor(path: string, pid: number) {
    this.#path = path;
    this.#pid = pid;
  }

  /** `UsageError` when it cannot be written, or names an nbd-mirror that is running. */
  static prepare(path: string, pid: number): PidFile {
    const owner = readOwner(path);
    if (owner !== undefined && owner !== pid && isRunning(owner)) {
      throw new UsageError(`Cannot write pid file ${path}: process ${owner} has it and is running`);
    }
    // A device would be replaced.
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) {
      throw new UsageError(`Cannot write pid file ${path}: it is there, and not a file`);
    }
    const file = new PidFile(path, pid);
    try {
      writeFileSync(file.#draft, `${pid}\n`);
    } catch (error) {
      remove(file.#draft);
      throw cannotWrite(path, error);
    }
    return file;
  }

  publish(): void {
    try {
      renameSync(this.#draft, this.#path);
    } catch (error) {
      throw cannotWrite(this.#path, error);
    }
  }

  /** Whether it was published or not. Somebody else may have it by now. */
  remove(): void {
    remove(this.#draft);
    if (readOwner(this.#path) === this.#pid) remove(this.#path);
  }

  get #draft(): string {
    return `${this.#path}.${this.#pid}`;
  }
}

function cannotWrite(path: string, error: unknown): UsageError {
  // Without the call and the draft's name.
  const [reason] = (error as Error).message.split(',');
  return new UsageError(`Cannot write pid file ${path}: ${reason}`);
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone is what was wanted.
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

/** After a crash the number may belong to another program. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('nbd-mirror');
  } catch {
    return true;
  }
}
