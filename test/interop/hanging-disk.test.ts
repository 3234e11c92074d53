import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeDiskFile, openFileNode } from '../conformance/make-file-node.ts';
import { lackForFuse } from '../support/fuse.ts';
import { kernelHasRings } from '../support/io-ring.ts';
import { currentScope, describePeers, startProcess, tempDir } from '../support/peers.ts';

const MiB = 1 << 20;
/** More than have a thread of the kernel, if nobody says how many. */
const READS = 4 * cpus().length + 4;

const lack = lackForFuse() ?? (kernelHasRings() ? undefined : 'io_uring');

describePeers(
  `a disk that hangs${lack ? ` [missing: ${lack}]` : ''}`,
  ['nbdkit', 'nbdfuse', 'fusermount3'],
  () => {
    it.skipIf(lack !== undefined)('does not keep another one from its requests', async () => {
      const directory = await tempDir();
      const [socket, mountPoint] = [join(directory, 'nbd.sock'), join(directory, 'fuse')];
      await startProcess(
        'nbdkit',
        ['-f', '-U', socket, '-t', '128', '--filter=delay', 'memory', '16M', 'rdelay=1'],
        { readySocket: socket },
      );
      mkdirSync(mountPoint);
      const file = join(mountPoint, 'disk');
      const fuse = await startProcess('nbdfuse', [file, '--unix', socket]);
      currentScope().owns(() => void execFileSync('fusermount3', ['-uz', mountPoint]));
      await fuse.waitUntil(() => existsSync(file), 'the fuse mount');
      const hanging = await openFileNode(file, true);
      const disk = makeDiskFile(16 * MiB);
      currentScope().owns(disk.remove);
      const other = await openFileNode(disk.filename, false, { direct: true });

      const ended: string[] = [];
      const reads = Array.from({ length: READS }, async (_, index) => {
        await hanging.read(index * 131_072, Buffer.alloc(4096));
        ended.push('read');
      });
      await other.write(4096, Buffer.alloc(4096, 1));
      ended.push('write');
      await Promise.all(reads);
      expect(ended[0]).toBe('write');
      await other.close();
      await hanging.close();
    });
  },
);
