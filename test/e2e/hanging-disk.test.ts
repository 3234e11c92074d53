import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NBD_CMD_FLUSH } from '../../protocol/nbd/constants.ts';
import { startNbdMirror } from '../support/nbd-mirror.ts';
import {
  currentScope,
  describePeers,
  startNbdkit,
  startProcess,
  tempDir,
} from '../support/peers.ts';
import { pause } from '../support/process.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';

/** A disk of this host that will not answer, as a file on a server that is down. */
async function serveDisk() {
  const directory = await tempDir();
  const mount = join(directory, 'mnt');
  const [disk, socket] = [join(mount, 'disk'), join(directory, 'nbd.sock')];
  const server = await startNbdkit(['memory', '8M']);
  mkdirSync(mount);
  const fuse = await startProcess('nbdfuse', [disk, server.uri]);
  currentScope().owns(() => void execFileSync('fusermount3', ['-uz', mount]));
  await fuse.waitUntil(() => existsSync(disk), 'the fuse mount');
  const served = await startNbdMirror(['serve', '-s', disk, '-k', socket], {
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

const lack = existsSync('/dev/fuse') ? '' : ' [missing: /dev/fuse]';

describePeers(`while a disk hangs${lack}`, ['nbdkit', 'nbdfuse', 'fusermount3'], () => {
  it.skipIf(lack !== '')('a second signal ends what a first one could not', async () => {
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
