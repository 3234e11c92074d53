/** What no mirror can beat: how fast a target takes data from a program that only sends. */
import { fileURLToPath } from 'node:url';
import { mustRun } from '../support/process.ts';
import { socketOf } from './peers.ts';

const PROGRAM = fileURLToPath(new URL('only-send.py', import.meta.url));

/** Writes the first `size` bytes, a multiple of 1 MiB, of `file` to an export; seconds. */
export async function onlySend(
  { file, size }: { file: string; size: number },
  uri: string,
  requestsInFlight: number,
): Promise<number> {
  const args = [PROGRAM, socketOf(uri), file, String(size), String(requestsInFlight)];
  return Number(await mustRun('python3', args));
}
