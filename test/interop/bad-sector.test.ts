import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NBD_CMD_READ, NBD_EIO } from '../../protocol/nbd/constants.ts';
import { openFileNode } from '../conformance/make-file-node.ts';
import { FUSE_TOOLS, lackForFuse, mountByFuse } from '../support/fuse.ts';
import { attachLoop, lackForLoopDevice } from '../support/loop-device.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { currentScope, describePeers, startNbdkit, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

const MiB = 1 << 20;
const BAD = 516 * 1024;

const lack = lackForFuse() ?? lackForLoopDevice();
const title = `a disk with a bad sector${lack ? ` [missing: ${lack}]` : ''}`;

describePeers(title, ['nbdkit', ...FUSE_TOOLS], () => {
  /** What could not be read has a page in the cache, with nothing in it. */
  it.skipIf(lack !== undefined)('is read to a client with an error, each time', async () => {
    const broken = join(await tempDir(), 'broken');
    const server = await startNbdkit([
      ...['--filter=error', 'data', `0x5a*${4 * MiB}`],
      ...['error-pread-rate=100%', `error-file=${broken}`],
    ]);
    const { file } = await mountByFuse(server.uri);
    const device = attachLoop(currentScope(), file, ['--direct-io=on']);
    await mustRun('blockdev', ['--setra', '0', device.path]);
    const node = await openFileNode(device.path, true);
    currentScope().onClose(() => node.close());
    const page = Buffer.alloc(4096);
    for (let at = 0; at < MiB; at += page.length) if (at !== BAD) await node.read(at, page);
    writeFileSync(broken, '');
    await expect(node.read(BAD, page)).rejects.toThrow('EIO');
    expect(node.fileBytes(0, BAD, false)).toBeDefined();
    expect(node.fileBytes(0, MiB, false)).toBeUndefined();

    const { connect } = await startNbdRig({ node, export: { writable: false } });
    const client = await connect();
    await client.go();
    for (let again = 0; again < 2; again++) {
      client.request({ type: NBD_CMD_READ, length: MiB });
      expect((await client.reply(MiB)).error).toBe(NBD_EIO);
    }
    rmSync(broken);
    client.request({ type: NBD_CMD_READ, length: MiB });
    expect((await client.reply(MiB)).chunks[0]!.payload.equals(Buffer.alloc(MiB, 0x5a))).toBe(true);
  });
});
