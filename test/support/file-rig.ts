import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type FileKind, openFileNode } from '../conformance/make-file-node.ts';
import { type NbdRig, type NbdRigOptions, startNbdRig } from './nbd-rig.ts';
import { currentScope, tempDir } from './peers.ts';

/** An export of a raw file, with the name of the file. */
export async function startFileRig(
  size: number,
  options: NbdRigOptions = {},
  kind: FileKind = {},
): Promise<NbdRig & { filename: string }> {
  const filename = join(await tempDir(), 'disk.raw');
  await makeSparseFile(filename, size);
  const node = await openFileNode(filename, false, kind);
  currentScope().onClose(() => node.close());
  return { ...(await startNbdRig({ ...options, node })), filename };
}

/** Data at the beginning, in the middle and at the end, and holes between. */
export async function makeSparseFile(filename: string, size: number): Promise<void> {
  const file = await open(filename, 'w');
  await file.truncate(size);
  const data = randomBytes(Math.min(size, 300_000));
  const last = Math.max(0, size - data.length);
  for (const offset of [0, Math.floor(last / 2), last]) {
    await file.write(data, 0, data.length, offset);
  }
  await file.close();
}
