/**
 * The servers that are compared, behind one shape. Ours and qemu-storage-daemon get the same
 * command line and the same QMP script, so that a difference in the figures is one of the programs.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun, type Scope } from '../support/process.ts';
import { QmpConnection } from '../support/qmp-connection.ts';
import { hasTool } from '../support/tools.ts';
import { addressOf, type Network, newUri } from './address.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FETCHED_QSD = join(ROOT, '.cache', 'qsd10', 'qemu-storage-daemon');

/** Something that exports a disk and mirrors it. */
export interface Contender {
  /** As the table calls it, with its version. */
  name: string;
  /** Program and first arguments, before those of qemu-storage-daemon. */
  command: readonly string[];
  /** Options of `--blockdev` that are its own. */
  blockdev?: string;
}

export interface RunningContender {
  uri: string;
  qmp: QmpConnection;
  /** Resident size, in bytes: now, and the largest so far. */
  memory(): number;
  peakMemory(): number;
  /** Processor seconds so far, of the program and of the kernel on its behalf. */
  cpuSeconds(): number;
}

export function ourselves(): Contender {
  return {
    name: 'nbd-mirror',
    command: [process.execPath, join(ROOT, 'bin', 'nbd-mirror'), 'daemon'],
  };
}

/** $QSD, or the newest of the fetched and the installed one. */
export async function newestQsd(): Promise<Contender> {
  const chosen = process.env['QSD'];
  const candidates = chosen ? [chosen] : [FETCHED_QSD, 'qemu-storage-daemon'];
  const versions = await Promise.all(
    candidates.filter(hasTool).map(async (command) => ({
      command,
      version: await versionOf(command),
    })),
  );
  const [newest] = versions.sort((a, b) =>
    b.version.localeCompare(a.version, 'en', { numeric: true }),
  );
  if (newest === undefined) {
    throw new Error(
      chosen
        ? `QSD=${chosen} is no program that can be run`
        : 'no qemu-storage-daemon here: apt-get install qemu-system-common, or QSD=PATH',
    );
  }
  return { name: `qemu-storage-daemon ${newest.version}`, command: [newest.command] };
}

/** It waits for files in threads unless it is told otherwise. */
export function withRing(qsd: Contender): Contender {
  return {
    name: qsd.name.replace(/(?= [\d.]+$)/, ' with io_uring'),
    command: qsd.command,
    blockdev: ',aio=io_uring',
  };
}

/** First version number in what `command --version` prints. */
export async function versionOf(command: string): Promise<string> {
  return /\d+\.\d+(?:\.\d+)?/.exec(await mustRun(command, ['--version']))?.[0] ?? '';
}

/**
 * Starts a contender on `file`, which it exports with writes as the default export; node `disk`.
 */
export async function startContender(
  scope: Scope,
  { command, blockdev = '' }: Contender,
  file: string,
  network: Network,
  driver = 'driver=file',
): Promise<RunningContender> {
  const directory = await scope.tempDir();
  const [monitor, pidFile] = [join(directory, 'qmp.sock'), join(directory, 'pid')];
  const uri = await newUri(scope, network);
  const listening = Object.entries(addressOf(uri)).map(([key, value]) => `addr.${key}=${value}`);
  const [program, ...first] = command;
  const server = await scope.startProcess(
    program!,
    [
      ...first,
      ...['--blockdev', `${driver},node-name=disk,filename=${file},discard=unmap${blockdev}`],
      ...['--nbd-server', listening.join(',')],
      ...['--export', 'type=nbd,id=export0,node-name=disk,name=,writable=on'],
      ...['--chardev', `socket,id=qmp,path=${monitor},server=on,wait=off`],
      ...['--monitor', 'chardev=qmp', '--pidfile', pidFile],
    ],
    // Not the monitor's socket: a QEMU that is spoken to before it is through its options may never
    // answer.
    { readyFile: pidFile },
  );
  const qmp = await QmpConnection.connect(monitor);
  scope.onClose(async () => qmp.close());
  return {
    uri,
    qmp,
    memory: () => memoryOf(server.pid, 'VmRSS'),
    peakMemory: () => memoryOf(server.pid, 'VmHWM'),
    cpuSeconds: () => cpuSecondsOf(server.pid),
  };
}

/** `nbdkit` with these arguments; its URI. */
export async function startNbdkit(
  scope: Scope,
  network: Network,
  args: readonly string[],
): Promise<string> {
  return (await startNbdkitProcess(scope, network, args)).uri;
}

export async function startNbdkitProcess(scope: Scope, network: Network, args: readonly string[]) {
  const uri = await newUri(scope, network);
  const address = addressOf(uri);
  const [listening, ready] =
    address.type === 'unix'
      ? [['-U', address.path], { readySocket: address.path }]
      : [['-i', address.host, '-p', address.port], { readyPort: Number(address.port) }];
  const process = await scope.startProcess('nbdkit', ['-f', ...listening, ...args], ready);
  return { uri, process };
}

/** Fields 14 and 15 of /proc/PID/stat are clock ticks, of which Linux has 100 a second. */
function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return (Number(user) + Number(system)) / 100;
}

function memoryOf(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) * 1024;
}
