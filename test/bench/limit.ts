/** What nobody can beat: programs that only move bytes. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun, type Scope } from '../support/process.ts';
import { socketOf, unixUri } from './address.ts';

const ONLY_SEND = fileURLToPath(new URL('only-send.py', import.meta.url));
const ONLY_MIRROR_IN_C = fileURLToPath(new URL('only-mirror.c', import.meta.url));
const ONLY_MIRROR = fileURLToPath(new URL('only-mirror.ts', import.meta.url));
const ONLY_RECEIVE = fileURLToPath(new URL('only-receive.py', import.meta.url));

/**
 * Writes the first `size` bytes, a multiple of 1 MiB, of `file` to an export; seconds. Before that
 * it asks what the first `askedBytes` of the export hold.
 */
export async function onlySend(
  { file, size }: { file: string; size: number },
  uri: string,
  { requestsInFlight, askedBytes }: { requestsInFlight: number; askedBytes: number },
): Promise<number> {
  const numbers = [size, requestsInFlight, askedBytes].map(String);
  return Number(await mustRun('python3', [ONLY_SEND, socketOf(uri), file, ...numbers]));
}

/** Exports `file` to who only writes; the URI. */
export async function onlyReceive(scope: Scope, file: string): Promise<string> {
  const socket = join(await scope.tempDir(), 'nbd.sock');
  await scope.startProcess('python3', [ONLY_RECEIVE, socket, file], { readySocket: socket });
  return unixUri(socket);
}

/** What `onlyMirrorInC` is compiled with. */
export const COMPILER = 'cc';

/** Exports `file` to who only writes, and sends each write to the export at `target`; the URI. */
export async function onlyMirrorInC(scope: Scope, file: string, target: string): Promise<string> {
  const directory = await scope.tempDir();
  const [program, socket] = [join(directory, 'only-mirror'), join(directory, 'nbd.sock')];
  await mustRun(COMPILER, ['-O2', '-o', program, ONLY_MIRROR_IN_C]);
  await scope.startProcess(program, [socket, file, socketOf(target)], { readySocket: socket });
  return unixUri(socket);
}

/** The same in JavaScript. */
export async function onlyMirror(scope: Scope, file: string, target: string): Promise<string> {
  const socket = join(await scope.tempDir(), 'nbd.sock');
  const program = [
    '--import',
    import.meta.resolve('tsx'),
    ONLY_MIRROR,
    socket,
    file,
    socketOf(target),
  ];
  await scope.startProcess(process.execPath, program, { readySocket: socket });
  return unixUri(socket);
}
