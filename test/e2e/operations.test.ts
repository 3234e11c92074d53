import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NBD_CMD_WRITE } from '../../protocol/nbd/constants.ts';
import { makeImage, runNbdMirror, startNbdMirror } from '../support/nbd-mirror.ts';
import {
  currentScope,
  describePeers,
  startNbdkit,
  startProcess,
  tempDir,
} from '../support/peers.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';

/** What docs/operations.md tells an operator to type, and what he has then. */
const MiB = 1 << 20;

/** `serve` with these options, and its monitor. */
async function rig(options: (path: (name: string) => string) => readonly string[]) {
  const directory = await tempDir();
  const path = (name: string) => join(directory, name);
  await makeImage(path('disk.raw'), 8 * MiB, randomBytes(MiB));
  const monitor = ['--qmp', `unix:${path('qmp.sock')}`];
  const serve = ['serve', '-k', path('disk.sock'), ...monitor, ...options(path)];
  const server = await startNbdMirror(serve, { readyLine: /disk\.sock/ });
  return {
    path,
    server,
    status: async () => (await runNbdMirror(['status', ...monitor])).stdout,
    is: async (state: string) => (await runNbdMirror(['status', ...monitor, '--is', state])).code,
    qmp: (...words: string[]) => runNbdMirror(['qmp', ...monitor, ...words]),
  };
}

describePeers('an operator', ['nbdkit'], () => {
  it('starts a mirror again that has failed', async () => {
    const full = join(await tempDir(), 'full');
    writeFileSync(full, '');
    const refusing = ['error-pwrite=ENOSPC', 'error-pwrite-rate=1', `error-file=${full}`];
    const { uri } = await startNbdkit(['--filter=error', 'memory', '8M', ...refusing]);
    const { qmp, is, server } = await rig((path) => ['-s', path('disk.raw'), '-t', uri]);
    await expect.poll(() => is('ready')).toBe(1);
    rmSync(full);
    expect((await qmp('job-dismiss', 'id=mirror0')).code).toBe(0);
    const again = 'job-id=mirror0 device=source target=target0 sync=full auto-dismiss=off';
    expect(await qmp('blockdev-mirror', ...again.split(' '))).toMatchObject({ code: 0 });
    await expect.poll(() => is('ready')).toBe(0);
    // As of any mirror, he is told where the disk is then.
    expect((await qmp('job-complete', 'id=mirror0')).code).toBe(0);
    await expect.poll(() => server.stderr).toContain(`clients are on ${uri} now: to serve this`);
  });

  it('is told where the disk is when he has mirrored it by hand', async () => {
    const { socket, uri } = await startNbdkit(['memory', '8M']);
    const { qmp, is, server } = await rig((path) => ['-s', path('disk.raw')]);
    const node = `driver=nbd node-name=target0 server.type=unix server.path=${socket}`;
    expect((await qmp('blockdev-add', ...node.split(' '))).code).toBe(0);
    const mirror = 'job-id=mirror0 device=source target=target0 sync=full';
    expect((await qmp('blockdev-mirror', ...mirror.split(' '))).code).toBe(0);
    await expect.poll(() => is('ready')).toBe(0);
    expect((await qmp('job-complete', 'id=mirror0')).code).toBe(0);
    await expect.poll(() => server.stderr).toContain(`clients are on ${uri} now: to serve this`);
  });

  it('is not told so when he looks at the copy', async () => {
    const { uri } = await startNbdkit(['memory', '8M']);
    const { qmp, is, server, status } = await rig((path) => ['-s', path('disk.raw'), '-t', uri]);
    await expect.poll(() => is('ready')).toBe(0);
    const look = 'type=nbd id=check node-name=target0 name=check';
    expect((await qmp('block-export-add', ...look.split(' '))).code).toBe(0);
    expect((await qmp('block-job-cancel', 'device=mirror0')).code).toBe(0);
    await expect.poll(status).not.toContain('mirror0');
    expect(server.stderr).toContain('completed');
    expect(server.stderr).not.toContain('clients are on');
  });

  it('makes the node of a target anew', async () => {
    const { uri, socket } = await startNbdkit(['memory', '8M']);
    const { qmp, is, status } = await rig((path) => ['-s', path('disk.raw'), '-t', uri]);
    await expect.poll(() => is('ready')).toBe(0);
    expect((await qmp('block-job-cancel', 'device=mirror0')).code).toBe(0);
    await expect.poll(status).not.toContain('mirror0');
    expect((await qmp('blockdev-del', 'node-name=target0')).code).toBe(0);
    const node = `driver=nbd node-name=target0 server.type=unix server.path=${socket}`;
    const more = 'reconnect-delay=30 discard=unmap';
    expect(await qmp('blockdev-add', ...node.split(' '), ...more.split(' '))).toMatchObject({
      code: 0,
    });
    const yank = 'instances.0.type=block-node instances.0.node-name=target0';
    expect(await qmp('yank', ...yank.split(' '))).toMatchObject({ code: 0 });
    const again = 'job-id=mirror0 device=source target=target0 sync=full';
    await qmp('blockdev-mirror', ...again.split(' '));
    await expect.poll(() => is('ready')).toBe(0);
  });

  it('is told by serve that what is there now is not copied', async () => {
    const { uri } = await startNbdkit(['memory', '8M']);
    const { server } = await rig((path) => ['-s', path('disk.raw'), '-t', uri, '--bitmap', 'b']);
    expect(server.stderr).toContain(`now is not copied (--bitmap): ${uri} must be equal to it`);
  });
});

describePeers('a source that is elsewhere', ['nbdkit'], () => {
  it('is waited for while its server is away', async () => {
    const directory = await tempDir();
    const [file, socket] = [join(directory, 'far.raw'), join(directory, 'far.sock')];
    await makeImage(file, 8 * MiB);
    const start = () =>
      startProcess('nbdkit', ['-f', '-U', socket, 'file', file], { readySocket: socket });
    const first = await start();
    const { path } = await rig(() => ['-s', `nbd+unix:///?socket=${socket}`]);
    const client = await RawNbdClient.connect({ path: path('disk.sock') });
    currentScope().onClose(async () => client.close());
    await client.go();
    await first.stop();
    rmSync(socket, { force: true });
    client.request({ type: NBD_CMD_WRITE, offset: 0, length: 512 }, Buffer.alloc(512, 1));
    await start();
    expect(await client.reply()).toMatchObject({ error: 0 });
  });
});
