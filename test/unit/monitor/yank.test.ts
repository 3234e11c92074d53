import { connect, createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { makeMonitorRig } from '../../support/monitor-rig.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';
import { currentScope, tempDir } from '../../support/peers.ts';

/** What stands between us and an NBD server, and can stop to pass anything on. */
async function startWire(to: string): Promise<{ path: string; freeze(): void }> {
  const path = `${await tempDir()}/wire`;
  const sockets: Socket[] = [];
  let frozen = false;
  const server = createServer((near) => {
    const far = connect({ path: to });
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on('error', () => {});
    near.on('data', (data) => frozen || far.write(data));
    far.on('data', (data) => near.write(data));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  currentScope().onClose(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    path,
    freeze() {
      frozen = true;
    },
  };
}

it('cuts a server off that hangs, while the command that waits for it runs', async () => {
  const rig = makeMonitorRig();
  const nbd = await startNbdRig();
  const wire = await startWire(nbd.socket);
  await rig.dispatcher.call('blockdev-add', {
    driver: 'nbd',
    'node-name': 'remote',
    server: { type: 'unix', path: wire.path },
    discard: 'unmap',
  });
  await rig.dispatcher.call('blockdev-add', { driver: 'x-memory', 'node-name': 'm', size: 4096 });
  expect(await rig.dispatcher.call('query-yank')).toEqual([
    { type: 'block-node', 'node-name': 'remote' },
  ]);
  const node = rig.storage.graph.find('remote')!;
  wire.freeze();
  const read = Promise.resolve(node.read(0, Buffer.alloc(512))).then(
    () => 'read',
    (error: Error) => error.message,
  );
  const client = await rig.connect();
  const yank = (...names: string[]) =>
    client.send(
      JSON.stringify({
        execute: 'yank',
        arguments: { instances: names.map((name) => ({ type: 'block-node', 'node-name': name })) },
      }),
    );
  const missing = { error: { class: 'DeviceNotFound', desc: 'Instance not found' } };
  await yank('remote', 'm');
  await yank('nope');
  expect(client.received.splice(0)).toEqual([missing, missing]);
  expect(await Promise.race([read, Promise.resolve('still waits')])).toBe('still waits');
  await yank('remote');
  expect(client.received).toEqual([{ return: {} }]);
  expect(await read).toMatch(/cancelled/);
  await rig.close();
});
