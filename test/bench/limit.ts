/** What no mirror can beat: how fast a target takes data from a program that only sends. */
import { fileURLToPath } from 'node:url';
import { mustRun } from '../support/process.ts';
import { socketOf } from './peers.ts';

const PROGRAM = fileURLToPath(new URL('only-send.py', import.meta.url));

/** Writes the first `size` bytes of `file`, a multiple of 1 MiB, to the export; seconds. */
export async function onlySend(file: string, uri: string, size: number): Promise<number> {
  return Number(await mustRun('python3', [PROGRAM, socketOf(uri), file, String(size)]));
}
