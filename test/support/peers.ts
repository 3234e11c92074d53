/**
 * Real peers for tests. `describePeers` runs its tests when every program is here and otherwise
 * skips them with a title that names the Debian packages to install. What a test starts or creates
 * is gone when the test has ended; what is started in `beforeAll` lasts until the end of the file.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe } from 'vitest';
import {
  freePort,
  type ProcessOptions,
  type RunningProcess,
  Scope,
  type StoppableProcess,
} from './process.ts';
import { missingPackages } from './tools.ts';

const fileScope = new Scope();
let testScope: Scope | undefined;

beforeEach(() => {
  testScope = new Scope();
});
afterEach(async () => {
  const ended = testScope;
  testScope = undefined;
  await ended?.close();
});
afterAll(() => fileScope.close());

/** Owns what is started now: the running test, or the file outside of tests. */
export function currentScope(): Scope {
  return testScope ?? fileScope;
}

/** `describe`, skipped by name when one of `tools` is missing. */
export function describePeers(title: string, tools: readonly string[], body: () => void): void {
  const missing = missingPackages(tools);
  if (missing.length === 0) {
    describe(title, body);
  } else {
    describe.skip(`${title} [missing: apt-get install ${missing.join(' ')}]`, body);
  }
}

/** A new directory that goes away with the test. */
export function tempDir(): Promise<string> {
  return currentScope().tempDir();
}

/** Starts a program, waits until it is ready as `options` say, and stops it with the test. */
export function startProcess(
  command: string,
  args: readonly string[],
  options?: ProcessOptions,
): Promise<RunningProcess> {
  return currentScope().startProcess(command, args, options);
}

export interface NbdPeer {
  process: StoppableProcess;
  /** `nbd+unix:///NAME?socket=PATH` */
  uri: string;
  socket: string;
}

export interface QemuNbdOptions {
  file: string;
  format?: string;
  exportName?: string;
  readOnly?: boolean;
  /** Clients at a time; 0 (the default here) is any number. */
  shared?: number;
  /** Further options, as `['--discard=unmap']`. */
  args?: readonly string[];
}

export async function startQemuNbd(options: QemuNbdOptions): Promise<NbdPeer> {
  const socket = await newSocket();
  const name = options.exportName ?? '';
  const args = ['--persistent', '-k', socket, '-f', options.format ?? 'raw'];
  args.push('-e', String(options.shared ?? 0), '-x', name);
  if (options.readOnly) args.push('--read-only');
  args.push(...(options.args ?? []), options.file);
  const process = await startProcess('qemu-nbd', args, { readySocket: socket });
  return { process, socket, uri: nbdUri(socket, name) };
}

/** `args` as on nbdkit's command line: `['--filter=error', 'memory', '1G', 'error-rate=50%']`. */
export async function startNbdkit(args: readonly string[]): Promise<NbdPeer> {
  const socket = await newSocket();
  const process = await startProcess('nbdkit', ['-f', '-U', socket, ...args], {
    readySocket: socket,
  });
  return { process, socket, uri: nbdUri(socket) };
}

export interface NbdServerOptions {
  file: string;
  exportName?: string;
  /** Lines for the export's section of the configuration, as `['trim = true']`. */
  settings?: readonly string[];
}

/** nbd-server listens on TCP whatever it is told, so this peer takes a port as well. */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdPeer> {
  const directory = await tempDir();
  const socket = join(directory, 'nbd.sock');
  const config = join(directory, 'nbd-server.conf');
  const pidFile = join(directory, 'nbd-server.pid');
  const name = options.exportName ?? 'disk';
  const generic = ['[generic]', 'listenaddr = 127.0.0.1', `port = ${await freePort()}`];
  const section = [`[${name}]`, `exportname = ${options.file}`, ...(options.settings ?? [])];
  const lines = [...generic, `unixsock = ${socket}`, 'allowlist = true', ...section, ''];
  await writeFile(config, lines.join('\n'));
  const process = await currentScope().startDaemon('nbd-server', ['-C', config, '-p', pidFile], {
    pidFile,
    readySocket: socket,
  });
  return { process, socket, uri: nbdUri(socket, name) };
}

/**
 * qemu-storage-daemon with `args` and a QMP monitor on the socket `qmp`. It is ready when its pid
 * file is there: a QEMU that is spoken to before it is through its options may never answer.
 */
export async function startQsd(
  args: readonly string[],
  program = 'qemu-storage-daemon',
): Promise<{ process: RunningProcess; qmp: string }> {
  const directory = await tempDir();
  const [qmp, pidFile] = [join(directory, 'qmp.sock'), join(directory, 'pid')];
  const chardev = `socket,id=qmp,path=${qmp},server=on,wait=off`;
  const process = await startProcess(
    program,
    [...args, '--chardev', chardev, '--monitor', 'chardev=qmp', '--pidfile', pidFile],
    { readyFile: pidFile },
  );
  return { process, qmp };
}

/** The URI of an export on a Unix socket, as libnbd, QEMU and we write it. */
export function nbdUri(socket: string, exportName = ''): string {
  return `nbd+unix:///${encodeURIComponent(exportName)}?socket=${socket}`;
}

async function newSocket(): Promise<string> {
  return join(await tempDir(), 'nbd.sock');
}
