import { beforeEach, expect, it } from 'vitest';
import { currentScope, describePeers } from '../support/peers.ts';
import { mustRun, run } from '../support/process.ts';
import { type QmpRig, startQmpRig } from '../support/qmp-rig.ts';
import { RawNbdClient } from '../support/raw-nbd-client.ts';

/** iotest 205: an export is taken away while nobody uses it, or while somebody does. */
const READ = { type: 0, length: 512 };

describePeers('nbd-server-remove', ['qemu-io'], () => {
  let rig: QmpRig;
  beforeEach(async () => {
    rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'disk', size: 1 << 20 });
    await rig.startNbdServer();
    await rig.execute('nbd-server-add', { device: 'disk', name: 'exp' });
  });

  const connectedClient = async () => {
    const client = await RawNbdClient.connect({ path: rig.socket });
    currentScope().onClose(async () => client.close());
    await client.go({ name: 'exp' });
    return client;
  };
  const expectExportGone = async () => {
    const { stderr } = await run('qemu-io', [
      '-r',
      '-f',
      'raw',
      '-c',
      'read 0 512',
      rig.uri('exp'),
    ]);
    expect(stderr).toContain('Requested export not available');
    expect(await rig.execute('query-block-exports')).toEqual([]);
  };
  const stillServes = async (client: RawNbdClient) => {
    client.request(READ);
    expect((await client.reply(512)).error).toBe(0);
  };

  it.each([{}, { mode: 'safe' }, { mode: 'hard' }])('without clients, %j', async (mode) => {
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 0 0 512', rig.uri('exp')]);
    await rig.execute('nbd-server-remove', { name: 'exp', ...mode });
    await rig.qmp.event('BLOCK_EXPORT_DELETED', ({ id }) => id === 'exp');
    await expectExportGone();
  });

  it.each([{}, { mode: 'safe' }])('is refused while a client is there, %j', async (mode) => {
    const client = await connectedClient();
    expect(await rig.refusal('nbd-server-remove', { name: 'exp', ...mode })).toBe(
      "export 'exp' still in use",
    );
    await stillServes(client);
    await stillServes(await connectedClient());
    client.close();
  });

  it('hard ends the clients', async () => {
    const client = await connectedClient();
    await stillServes(client);
    await rig.execute('nbd-server-remove', { name: 'exp', mode: 'hard' });
    client.request(READ);
    expect(await client.untilEnd()).toHaveLength(0);
    await rig.qmp.event('BLOCK_EXPORT_DELETED', ({ id }) => id === 'exp');
    await expectExportGone();
  });

  it('hard after safe was refused ends the clients', async () => {
    const client = await connectedClient();
    await rig.refusal('nbd-server-remove', { name: 'exp', mode: 'safe' });
    await rig.execute('nbd-server-remove', { name: 'exp', mode: 'hard' });
    expect(await client.untilEnd()).toHaveLength(0);
    await rig.qmp.event('BLOCK_EXPORT_DELETED', ({ id }) => id === 'exp');
    await expectExportGone();
    expect(await rig.refusal('nbd-server-remove', { name: 'exp' })).toBe(
      "Export 'exp' is not found",
    );
  });
});
