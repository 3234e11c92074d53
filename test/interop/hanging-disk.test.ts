import { cpus } from 'node:os';
import { expect, it } from 'vitest';
import { makeDiskFile, openFileNode } from '../conformance/make-file-node.ts';
import { FUSE_TOOLS, lackForFuse, mountByFuse } from '../support/fuse.ts';
import { kernelHasRings } from '../support/io-ring.ts';
import { currentScope, describePeers, startNbdkit } from '../support/peers.ts';

const MiB = 1 << 20;
/** More than have a thread of the kernel, if nobody says how many. */
const READS = 4 * cpus().length + 4;

const lack = lackForFuse() ?? (kernelHasRings() ? undefined : 'io_uring');
const title = `a disk that hangs${lack ? ` [missing: ${lack}]` : ''}`;

describePeers(title, ['nbdkit', ...FUSE_TOOLS], () => {
  it.skipIf(lack !== undefined)('does not keep another one from its requests', async () => {
    const server = await startNbdkit(['--filter=delay', 'memory', '16M', 'rdelay=1']);
    const { file } = await mountByFuse(server.uri);
    const hanging = await openFileNode(file, true);
    const disk = makeDiskFile(16 * MiB);
    currentScope().owns(disk.remove);
    const other = await openFileNode(disk.filename, false, { direct: true });

    const ended: string[] = [];
    const reads = Array.from({ length: READS }, async (_, index) => {
      await hanging.read((index * 131_072) % (16 * MiB), Buffer.alloc(4096));
      ended.push('read');
    });
    await other.write(4096, Buffer.alloc(4096, 1));
    ended.push('write');
    await Promise.all(reads);
    expect(ended[0]).toBe('write');
    await other.close();
    await hanging.close();
  });
});
