/**
 * Foreign programs as tests and benchmarks use them: started, waited for, quoted when something
 * goes wrong, and gone afterwards. A `Scope` owns what was started in it. Two nets lie below:
 * programs get a parent-death signal where setpriv(1) exists, and whatever is left is killed and
 * removed when we exit (see last-net.ts for who is ended by a signal).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasTool, SEARCH_PATH } from './tools.ts';

const READY_MS = 20_000;
const STOP_MS = 5_000;
const POLL_MS = 5;
const OUTPUT_CHARACTERS_MAX = 256 * 1024;

const alive = new Set<{ kill(signal: NodeJS.Signals): unknown }>();
const directories = new Set<string>();
const undoings = new Set<() => void>();
process.on('exit', removeAll);

/** Ends and removes whatever scopes own still. */
export function removeAll(): void {
  const removals = [
    // The latest first: what a program serves is unmounted before the program is ended.
    ...[...undoings].reverse(),
    ...[...alive].map((child) => () => void child.kill('SIGKILL')),
    ...[...directories].map((path) => () => rmSync(path, { recursive: true, force: true })),
  ];
  for (const remove of removals) {
    try {
      remove();
    } catch {
      // What cannot be removed must not keep the others.
    }
  }
}

/**
 * What one can do with a program, whether it is our child or went into the background by itself.
 */
export interface StoppableProcess {
  readonly pid: number;
  readonly running: boolean;
  signal(name: NodeJS.Signals): void;
  stop(): Promise<unknown>;
}

export interface ProcessOptions {
  /** Wait until somebody listens on this Unix socket (seen from outside: no connection is made). */
  readySocket?: string;
  /** Wait until somebody listens on this TCP port of the loopback. */
  readyPort?: number;
  /** Wait until this file is there, as a pid file that is written when everything else is done. */
  readyFile?: string;
  /** Wait until this has appeared in the output. */
  readyLine?: RegExp;
  env?: Record<string, string>;
  cwd?: string;
  /** How long to wait for readiness. */
  timeoutMs?: number;
}

export interface RunOptions {
  input?: string | Buffer;
  env?: Record<string, string>;
  cwd?: string;
  /** Killed, and reported as code null, after this time. */
  timeoutMs?: number;
}

export interface RunResult {
  /** Exit code, null after a signal. */
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A program that runs until `stop`. */
export class RunningProcess implements StoppableProcess {
  readonly pid: number;
  /** Resolves to the exit code, or null after a signal. */
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #name: string;
  #stdout = '';
  #stderr = '';

  constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    this.pid = child.pid ?? 0;
    alive.add(child);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout = (this.#stdout + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
    this.exited = new Promise((resolve) => {
      child.once('close', (code) => resolve(code));
      child.once('error', (error) => {
        this.#stderr += error.message;
        resolve(null);
      });
    }).then((code) => {
      alive.delete(child);
      return code as number | null;
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get output(): string {
    return this.#stdout + this.#stderr;
  }

  get running(): boolean {
    return this.pid !== 0 && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.#child.kill(name);
  }

  /**
   * Waits until `seen` says yes; fails with the program's output when it ends or takes too long.
   */
  async waitUntil(seen: () => boolean, what: string, timeoutMs = READY_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!seen()) {
      if (!this.running) throw this.failure(`ended before ${what}`);
      if (performance.now() > deadline) throw this.failure(`${what} did not happen in time`);
      await pause(POLL_MS);
    }
  }

  /** SIGTERM, then SIGKILL; resolves to the exit code. */
  async stop(): Promise<number | null> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), STOP_MS);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }

  failure(what: string): Error {
    const end = this.#child.exitCode ?? this.#child.signalCode ?? 'running';
    return new Error(`${this.#name}: ${what} (${end}); it said:\n${this.output.trim()}`);
  }
}

/** A program that left us for the background and told its pid in a file. */
class DaemonProcess implements StoppableProcess {
  readonly pid: number;

  constructor(pid: number) {
    this.pid = pid;
    alive.add(this);
  }

  /** One that has ended stays in the process table where nobody asks for it, as in containers. */
  get running(): boolean {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
      return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z';
    } catch {
      return false;
    }
  }

  kill(name: NodeJS.Signals): void {
    try {
      process.kill(this.pid, name);
    } catch {
      // It has ended meanwhile.
    }
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.kill(name);
  }

  async stop(): Promise<void> {
    this.signal('SIGTERM');
    const start = performance.now();
    while (this.running) {
      const waitedMs = performance.now() - start;
      if (waitedMs > 2 * STOP_MS) throw new Error(`process ${this.pid} cannot be ended`);
      if (waitedMs > STOP_MS) this.signal('SIGKILL');
      await pause(POLL_MS);
    }
    alive.delete(this);
  }
}

/** Owns processes and directories until `close`, which takes them down last come, first gone. */
export class Scope {
  readonly #closers: (() => Promise<unknown>)[] = [];

  onClose(closer: () => Promise<unknown>): void {
    this.#closers.push(closer);
  }

  /**
   * For what no exit of ours ends, such as a mount: `undo` is called once, when the returned
   * function is, or at `close`, or when we are ended.
   */
  owns(undo: () => void): () => void {
    const once = () => {
      if (undoings.delete(once)) undo();
    };
    undoings.add(once);
    this.onClose(async () => once());
    return once;
  }

  async tempDir(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'nbd-mirror-test-'));
    directories.add(path);
    this.onClose(async () => {
      await rm(path, { recursive: true, force: true });
      directories.delete(path);
    });
    return path;
  }

  async startProcess(
    command: string,
    args: readonly string[],
    options: ProcessOptions = {},
  ): Promise<RunningProcess> {
    const started = spawnProcess(command, args, options);
    this.onClose(() => started.stop());
    const { readySocket, readyPort, readyFile, readyLine, timeoutMs } = options;
    if (readySocket !== undefined) {
      await started.waitUntil(() => isListening(readySocket), readySocket, timeoutMs);
    }
    if (readyPort !== undefined) {
      await started.waitUntil(() => isListening(readyPort), `port ${readyPort}`, timeoutMs);
    }
    if (readyFile !== undefined) {
      await started.waitUntil(() => existsSync(readyFile), readyFile, timeoutMs);
    }
    if (readyLine !== undefined) {
      await started.waitUntil(() => readyLine.test(started.output), `${readyLine}`, timeoutMs);
    }
    return started;
  }

  /** For programs that cannot stay in the foreground: they must write `pidFile`. */
  async startDaemon(
    command: string,
    args: readonly string[],
    options: { pidFile: string; readySocket: string },
  ): Promise<StoppableProcess> {
    await mustRun(command, args);
    const { pidFile, readySocket } = options;
    const deadline = performance.now() + READY_MS;
    const until = async (seen: () => boolean, what: string) => {
      while (!seen()) {
        if (performance.now() > deadline) throw new Error(`${command}: no ${what} in time`);
        await pause(POLL_MS);
      }
    };
    await until(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8').trim() !== '', pidFile);
    const daemon = new DaemonProcess(Number(readFileSync(pidFile, 'utf8')));
    this.onClose(() => daemon.stop());
    await until(() => isListening(readySocket), readySocket);
    return daemon;
  }

  /** One closer that fails does not keep the others from their work. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (let closer = this.#closers.pop(); closer !== undefined; closer = this.#closers.pop()) {
      try {
        await closer();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, failures.join('; '));
  }
}

/** Runs a program to its end. A program that cannot be started has code null and says why. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = spawnProcess(command, args, options, options.input);
  const { timeoutMs } = options;
  const timer = timeoutMs ? setTimeout(() => child.signal('SIGKILL'), timeoutMs) : undefined;
  const code = await child.exited;
  clearTimeout(timer);
  return { code, stdout: child.stdout, stderr: child.stderr };
}

/** As `run`, but anything except exit code 0 is an error that quotes the output; gives stdout. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')}: exit code ${code}; it said:\n${stdout}${stderr}`);
}

/** Whether somebody listens: read from the kernel's tables, so that no server sees a visitor. */
export function isListening(where: string | number): boolean {
  if (typeof where === 'string') {
    return kernelTable('unix').some((row) => {
      const fields = row.trim().split(/\s+/);
      return fields[3] === '00010000' && fields.slice(7).join(' ') === where;
    });
  }
  const port = `:${where.toString(16).toUpperCase().padStart(4, '0')}`;
  return [...kernelTable('tcp'), ...kernelTable('tcp6')].some((row) => {
    const fields = row.trim().split(/\s+/);
    return fields[3] === '0A' && fields[1]!.endsWith(port);
  });
}

/** A TCP port of the loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? address!.port : 0));
    });
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function kernelTable(name: string): string[] {
  try {
    return readFileSync(`/proc/net/${name}`, 'utf8').split('\n').slice(1);
  } catch {
    return [];
  }
}

function spawnProcess(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string },
  input?: string | Buffer,
): RunningProcess {
  // pdeathsig survives the exec, so the pid is the program's own.
  const wrapped = hasTool('setpriv') && hasTool(command);
  const child = spawn(
    wrapped ? 'setpriv' : command,
    wrapped ? ['--pdeathsig', 'KILL', '--', command, ...args] : args,
    {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, PATH: SEARCH_PATH, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    },
  );
  // A program that ends without reading all of its input is no failure by itself.
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  return new RunningProcess(child, command);
}
