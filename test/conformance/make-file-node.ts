import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FileNode } from '../../src/block/file-node.ts';
import type { SpaceOptions } from '../../src/block/node.ts';
import { loadSyscalls, type Syscalls } from '../../src/sys/syscalls.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import { attachLoop } from '../support/loop-device.ts';
import { Scope } from '../support/process.ts';
import type { MakeNode } from './block-node-suite.ts';

export interface FileKind extends Partial<SpaceOptions> {
  ffi?: boolean;
  /** Where the file is made: another kind of file system. */
  directory?: string;
  direct?: boolean;
  noFlush?: boolean;
  /** By which it finds out that a write was slow. */
  clock?: Clock;
  /** Instead of what the kernel says. */
  syscalls?: Partial<Syscalls>;
}

export async function openFileNode(
  filename: string,
  readOnly: boolean,
  kind: FileKind = {},
): Promise<FileNode> {
  const syscalls = loadSyscalls({ ffi: kind.ffi ?? true, log: silentLog });
  const node = await FileNode.open({
    name: 'disk0',
    filename,
    readOnly,
    cache: { direct: kind.direct ?? false, noFlush: kind.noFlush ?? false },
    syscalls: { ...syscalls, ...kind.syscalls },
    clock: kind.clock ?? systemClock,
    log: silentLog,
  });
  const { discard = 'unmap', detectZeroes = 'off' } = kind;
  node.space = { discard, detectZeroes };
  return node;
}

/** A sparse file in a directory of its own, and how to take both away. */
export function makeDiskFile(
  size: number,
  parent = os.tmpdir(),
): { filename: string; remove(): void } {
  const directory = fs.mkdtempSync(path.join(parent, 'file-node-'));
  const filename = path.join(directory, 'disk.img');
  fs.writeFileSync(filename, '');
  fs.truncateSync(filename, size);
  return { filename, remove: () => fs.rmSync(directory, { recursive: true }) };
}

export function makeFileNode(kind: FileKind = {}): MakeNode {
  return async ({ size, readOnly }) => {
    const scope = new Scope();
    const file = makeDiskFile(size, kind.directory);
    scope.owns(file.remove);
    return openIn(scope, file.filename, readOnly, kind);
  };
}

/** A file node over a loop device over a sparse file. */
export function makeLoopNode(kind: FileKind = {}): MakeNode {
  return async ({ size, readOnly }) => {
    const scope = new Scope();
    const file = makeDiskFile(size);
    scope.owns(file.remove);
    const device = attachLoop(scope, file.filename);
    return openIn(scope, device.path, readOnly, kind);
  };
}

/** A node, and an end of it that takes with it what `scope` owns; so does a failure. */
async function openIn(scope: Scope, filename: string, readOnly: boolean, kind: FileKind) {
  try {
    const node = await openFileNode(filename, readOnly, kind);
    scope.onClose(() => node.close());
    return { node, dispose: () => scope.close() };
  } catch (error) {
    await scope.close();
    throw error;
  }
}
