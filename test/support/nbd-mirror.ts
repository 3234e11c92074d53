import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { currentScope, nbdUri, startProcess, tempDir } from './peers.ts';
import { type RunningProcess, type RunOptions, type RunResult, run } from './process.ts';
import { QmpConnection } from './qmp-connection.ts';

/** Our own program as users start it: the compiled command line. */
export const PROGRAM = fileURLToPath(new URL('../../bin/nbd-mirror', import.meta.url));

export function runNbdMirror(
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return run(process.execPath, [PROGRAM, ...args], { timeoutMs: 60_000, ...options });
}

export interface RunningDaemon {
  readonly process: RunningProcess;
  readonly qmp: QmpConnection;
  readonly qmpPath: string;
  /** The Unix socket of the NBD server. */
  readonly socket: string;
  readonly uri: string;
}

/** `daemon` with a monitor and an NBD server on Unix sockets, and these options. */
export async function startDaemon(args: readonly string[] = []): Promise<RunningDaemon> {
  const directory = await tempDir();
  const [socket, qmpPath] = [join(directory, 'nbd.sock'), join(directory, 'qmp.sock')];
  const process = await startNbdMirror(
    [
      'daemon',
      '--nbd-server',
      `addr.type=unix,addr.path=${socket},max-connections=0`,
      ...args,
      '--chardev',
      `socket,id=qmp,path=${qmpPath},server=on,wait=off`,
      '--monitor',
      'chardev=qmp',
    ],
    { readySocket: qmpPath },
  );
  return { process, qmp: await connectQmp(qmpPath), qmpPath, socket, uri: nbdUri(socket) };
}

export function startNbdMirror(
  args: readonly string[],
  options: Parameters<typeof startProcess>[2],
): Promise<RunningProcess> {
  return startProcess(process.execPath, [PROGRAM, ...args], options);
}

/** A QMP connection that is closed with the test. */
export async function connectQmp(path: string): Promise<QmpConnection> {
  const connection = await QmpConnection.connect(path);
  currentScope().onClose(async () => connection.close());
  return connection;
}

/** A daemon that exports `file` as the default export, writable; the node is `source`. */
export function startExport(file: string, more: readonly string[] = []): Promise<RunningDaemon> {
  return startDaemon([
    '--blockdev',
    `driver=file,node-name=source,filename=${file},discard=unmap`,
    '--export',
    'nbd,id=export0,node-name=source,name=,writable=on',
    ...more,
  ]);
}

/** A new sparse file of this size, with `head` at its beginning. */
export async function makeImage(path: string, size: number, head = Buffer.alloc(0)): Promise<void> {
  const file = await open(path, 'wx');
  await file.truncate(size);
  await file.write(head, 0, head.length, 0);
  await file.close();
}
