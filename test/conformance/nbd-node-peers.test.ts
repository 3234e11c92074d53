import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll } from 'vitest';
import { openNbdNode } from '../support/open-nbd-node.ts';
import {
  describePeers,
  startNbdkit,
  startNbdServer,
  startQemuNbd,
  tempDir,
} from '../support/peers.ts';
import { blockNodeSuite, type MakeNode } from './block-node-suite.ts';

// Server and node are gone with the test.
const dispose = async () => {};

function nbdkit(args: readonly string[]): MakeNode {
  return async ({ size, readOnly }) => {
    const readOnlyArgs = readOnly ? ['-r'] : [];
    const { socket } = await startNbdkit([...readOnlyArgs, ...args, `size=${size}`]);
    return { node: await openNbdNode(socket, { readOnly }), dispose };
  };
}

async function diskFile(size: number): Promise<string> {
  const file = join(await tempDir(), 'disk.img');
  await writeFile(file, '');
  await truncate(file, size);
  return file;
}

describePeers('nbdkit', ['nbdkit'], () => {
  blockNodeSuite('nbd over nbdkit', nbdkit(['memory']));

  blockNodeSuite('nbd without structured replies', nbdkit(['--no-sr', 'memory']));

  const policy = ['blocksize-minimum=512', 'blocksize-maximum=16384'];
  blockNodeSuite(
    'nbd over a server of small blocks',
    nbdkit(['--filter=blocksize-policy', 'memory', ...policy, 'blocksize-error-policy=error']),
  );

  blockNodeSuite(
    'nbd over a server without zeroes and FUA',
    nbdkit(['--filter=nozero', '--filter=fua', 'memory']),
  );
});

describePeers('qemu-nbd', ['qemu-nbd'], () => {
  blockNodeSuite('nbd over qemu-nbd', async ({ size, readOnly }) => {
    const file = await diskFile(size);
    const { socket } = await startQemuNbd({ file, readOnly, args: ['--discard=unmap'] });
    return { node: await openNbdNode(socket, { readOnly }), dispose };
  });
});

describePeers('nbd-server', ['nbd-server'], () => {
  let file = '';
  const sockets = { writable: '', readOnly: '' };

  // It takes seconds to start and stop, but opens the file anew for each client.
  beforeAll(async () => {
    file = await diskFile(0);
    sockets.writable = (await startNbdServer({ file })).socket;
    sockets.readOnly = (await startNbdServer({ file, settings: ['readonly = true'] })).socket;
  });

  blockNodeSuite('nbd over nbd-server, which cannot flush', async ({ size, readOnly }) => {
    await truncate(file, 0);
    await truncate(file, size);
    const socket = readOnly ? sockets.readOnly : sockets.writable;
    return { node: await openNbdNode(socket, { readOnly, exportName: 'disk' }), dispose };
  });
});
