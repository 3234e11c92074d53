import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FileNode, type FileNodeOptions } from '../../src/block/file-node.ts';
import { loadSyscalls } from '../../src/sys/syscalls.ts';
import { systemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import type { MakeNode } from './block-node-suite.ts';

export interface FileKind {
  ffi: boolean;
  direct?: boolean;
  discard?: FileNodeOptions['discard'];
  detectZeroes?: FileNodeOptions['detectZeroes'];
}

export function fileOptions(filename: string, readOnly: boolean, kind: FileKind): FileNodeOptions {
  return {
    name: 'disk0',
    filename,
    readOnly,
    cache: { direct: kind.direct ?? false, noFlush: false },
    discard: kind.discard ?? 'unmap',
    detectZeroes: kind.detectZeroes ?? 'off',
    syscalls: loadSyscalls({ ffi: kind.ffi, log: silentLog }),
    clock: systemClock,
    log: silentLog,
  };
}

/** A file node over a sparse file in a directory of its own. */
export function makeFileNode(kind: FileKind): MakeNode {
  return async ({ size, readOnly }) => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'file-node-'));
    const filename = path.join(directory, 'disk.img');
    fs.closeSync(fs.openSync(filename, 'w'));
    fs.truncateSync(filename, size);
    const node = await FileNode.open(fileOptions(filename, readOnly, kind));
    const dispose = async () => {
      await node.close();
      fs.rmSync(directory, { recursive: true });
    };
    return { node, dispose };
  };
}
