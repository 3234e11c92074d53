import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NBD_CMD_FLUSH } from '../../protocol/nbd/constants.ts';
import { FUSE_TOOLS, lackForFuse, mountByFuse } from '../support/fuse.ts';
import { startNbdMirror } from '../support/nbd-mirror.ts';
import { currentScope, describePeers, startNbdkit, tempDir } from '../support/peers.ts';
import { pause } from '../support/process.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';

/** A disk of this host that will not answer, as a file on a server that is down. */
async function serveDisk() {
  const server = await startNbdkit(['memory', '8M']);
  const { file, fuse } = await mountByFuse(server.uri);
  const socket = join(await tempDir(), 'nbd.sock');
  const served = await startNbdMirror(['serve', '-s', file, '-k', socket], {
    readyLine: /socket=/,
  });
  return {
    socket,
    served,
    // Not the server behind it: what has been read from the kernel it does not take back.
    hang() {
      fuse.signal('SIGSTOP');
      currentScope().onClose(async () => fuse.signal('SIGKILL'));
    },
  };
}

/** Time for what a signal begins. */
const BEGUN_MS = 500;

const lack = lackForFuse();
const title = `while a disk hangs${lack ? ` [missing: ${lack}]` : ''}`;

describePeers(title, ['nbdkit', ...FUSE_TOOLS], () => {
  it.skipIf(lack !== undefined)('a second signal ends what a first one could not', async () => {
    const { hang, served, socket } = await serveDisk();
    const client = await RawNbdClient.connect({ path: socket });
    currentScope().onClose(async () => client.close());
    await client.go();
    hang();
    client.request({ type: NBD_CMD_FLUSH, offset: 0, length: 0 });
    await pause(BEGUN_MS);
    served.signal('SIGTERM');
    await pause(BEGUN_MS);
    expect(served.running).toBe(true);
    served.signal('SIGTERM');
    await expect.poll(() => served.running, { timeout: 2000 }).toBe(false);
  });
});
