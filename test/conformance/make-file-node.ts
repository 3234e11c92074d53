import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FileNode, type FileNodeOptions } from '../../src/block/file-node.ts';
import { loadSyscalls } from '../../src/sys/syscalls.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import type { MakeNode } from './block-node-suite.ts';

export interface FileKind {
  ffi?: boolean;
  /** Where the file is made: another kind of file system. */
  directory?: string;
  direct?: boolean;
  noFlush?: boolean;
  discard?: FileNodeOptions['discard'];
  detectZeroes?: FileNodeOptions['detectZeroes'];
  /** By which it finds out that a write was slow. */
  clock?: Clock;
  /** Instead of what the kernel says. */
  isWritingBack?: () => boolean;
}

export function openFileNode(
  filename: string,
  readOnly: boolean,
  kind: FileKind = {},
): Promise<FileNode> {
  const syscalls = loadSyscalls({ ffi: kind.ffi ?? true, log: silentLog });
  return FileNode.open({
    name: 'disk0',
    filename,
    readOnly,
    cache: { direct: kind.direct ?? false, noFlush: kind.noFlush ?? false },
    discard: kind.discard ?? 'unmap',
    detectZeroes: kind.detectZeroes ?? 'off',
    syscalls: { ...syscalls, isWritingBack: kind.isWritingBack ?? syscalls.isWritingBack },
    clock: kind.clock ?? systemClock,
    log: silentLog,
  });
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
    const file = makeDiskFile(size, kind.directory);
    const node = await openFileNode(file.filename, readOnly, kind);
    const dispose = async () => {
      await node.close();
      file.remove();
    };
    return { node, dispose };
  };
}

/** What the machine lacks for a loop device, or undefined. */
export function lackForLoopDevice(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  if (!fs.existsSync('/dev/loop-control')) return '/dev/loop-control (kernel module loop)';
  try {
    execFileSync('losetup', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'losetup (package mount)';
  }
  return undefined;
}

/** A file node over a loop device over a sparse file. */
export function makeLoopNode(kind: FileKind = {}): MakeNode {
  return async ({ size, readOnly }) => {
    const file = makeDiskFile(size);
    const device = execFileSync('losetup', ['--find', '--show', file.filename], {
      encoding: 'utf8',
    }).trim();
    const node = await openFileNode(device, readOnly, kind);
    const dispose = async () => {
      await node.close();
      execFileSync('losetup', ['--detach', device]);
      file.remove();
    };
    return { node, dispose };
  };
}
