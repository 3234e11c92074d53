import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import type { InetAddress } from '../../../src/net/address.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';
import { RawNbdClient } from '../../support/raw-nbd-client.ts';

describe('exports', () => {
  let rig: MonitorRig;
  beforeEach(async () => {
    rig = makeMonitorRig();
    await rig.dispatcher.call('blockdev-add', {
      driver: 'x-memory',
      'node-name': 'disk',
      size: 1 << 20,
    });
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
    await rig.dispatcher.call('nbd-server-start', { addr });
    for (const name of ['b0', 'b1']) {
      const given = { node: 'disk', name, disabled: true };
      await rig.dispatcher.call('block-dirty-bitmap-add', given);
    }
  });
  afterEach(() => rig.close());

  const add = (id: string, ...bitmaps: string[]) =>
    rig.dispatcher.call('block-export-add', { type: 'nbd', id, 'node-name': 'disk', bitmaps });
  const disk = () => rig.storage.graph.find('disk')!;
  const busy = () => disk().bitmaps.map((bitmap) => bitmap.busy);
  const users = () => rig.storage.graph.usersOf(disk()).map(({ user }) => user.name);

  it('hold their node and their bitmaps until they are gone', async () => {
    await add('e0', 'b0');
    expect(users()).toEqual(['e0']);
    expect(busy()).toEqual([true, false]);
    await rig.dispatcher.call('block-export-del', { id: 'e0' });
    expect(users()).toEqual([]);
    expect(busy()).toEqual([false, false]);
    expect(rig.events).toEqual([{ event: 'BLOCK_EXPORT_DELETED', data: { id: 'e0' } }]);
  });

  it.each([
    [['b0', 'none'], "Bitmap 'none' is not found"],
    [['b0', 'b0'], "Bitmap 'b0' is currently in use by another operation and cannot be used"],
  ])('with bitmaps %o are refused and leave nothing behind', async (bitmaps, desc) => {
    await expect(add('e0', ...bitmaps)).rejects.toThrow(desc);
    expect(users()).toEqual([]);
    expect(busy()).toEqual([false, false]);
    await add('e0', 'b0', 'b1');
  });

  it('find bitmaps by name below nodes that are as long, and nowhere else', async () => {
    for (const [name, size] of [
      ['whole', undefined],
      ['part', 4096],
    ] as const) {
      const window = { driver: 'raw', 'node-name': name, file: 'disk', ...(size && { size }) };
      await rig.dispatcher.call('blockdev-add', window as never);
    }
    const given = { type: 'nbd', bitmaps: ['b0'] } as const;
    const of = (node: string) =>
      rig.dispatcher.call('block-export-add', { ...given, id: node, 'node-name': node });
    await expect(of('part')).rejects.toThrow("Bitmap 'b0' is not found");
    await of('whole');
    expect(busy()).toEqual([true, false]);
  });

  /** Exports `disk` with a bitmap of another one, which has so many bytes. */
  async function addOthersBitmap(size: number, before = async () => {}): Promise<unknown> {
    const other = { driver: 'x-memory', 'node-name': 'other', size } as const;
    await rig.dispatcher.call('blockdev-add', other);
    await rig.dispatcher.call('block-dirty-bitmap-add', { node: 'other', name: 'o' });
    const bitmaps = [{ node: 'other', name: 'o' }];
    const begun = before();
    const given = { type: 'nbd', id: 'e0', 'node-name': 'disk', bitmaps } as const;
    return rig.dispatcher.call('block-export-add', given).finally(() => begun);
  }

  it('take no bitmap of a disk of another size', async () => {
    await expect(addOthersBitmap(1 << 19)).rejects.toThrow(
      "Bitmap 'o' is of a disk of 524288 bytes, but 'disk' has 1048576",
    );
  });

  it('take no bitmap of a disk that is being resized', async () => {
    const resize = async () => {
      await rig.dispatcher.call('block_resize', { 'node-name': 'other', size: 1 << 19 });
    };
    await expect(addOthersBitmap(1 << 20, resize)).rejects.toThrow("Node 'other' is busy");
  });

  it('cannot be written to while their node is the target of a mirror', async () => {
    await rig.dispatcher.call('blockdev-add', {
      driver: 'x-memory',
      'node-name': 'source',
      size: 1 << 20,
    });
    const mirror = { 'job-id': 'm0', device: 'source', target: 'disk', sync: 'none' } as const;
    await rig.dispatcher.call('blockdev-mirror', mirror);
    const given = { type: 'nbd', id: 'e0', 'node-name': 'disk', writable: true } as const;
    await expect(rig.dispatcher.call('block-export-add', given)).rejects.toThrow(
      "Node 'disk' is busy: block device is in use by block job: mirror",
    );
    await rig.dispatcher.call('block-export-add', { ...given, writable: false });
  });

  it('tell who their clients are, and what clients have asked of them', async () => {
    const given = { type: 'nbd', id: 'e0', 'node-name': 'disk', writable: true } as const;
    await rig.dispatcher.call('block-export-add', given);
    const { port } = rig.storage.nbd.server!.addresses[0] as InetAddress;
    const client = await RawNbdClient.connect({ port });
    await client.go({ name: 'disk' });
    const ask = async (type: number, offset: number, length: number, payload = '') => {
      client.request({ type, offset, length }, payload);
      await client.reply(type === wire.NBD_CMD_READ ? length : 0);
    };
    await ask(wire.NBD_CMD_WRITE, 0, 4, 'data');
    await ask(wire.NBD_CMD_READ, 0, 512);
    await ask(wire.NBD_CMD_READ, 512, 512);
    await ask(wire.NBD_CMD_FLUSH, 0, 0);
    await ask(wire.NBD_CMD_TRIM, 0, 4096);
    await ask(wire.NBD_CMD_WRITE, 1 << 20, 4, 'none');
    const query = async () => (await rig.dispatcher.call('query-block-exports'))[0];
    const requests = {
      reads: 2,
      'read-bytes': 1024,
      writes: 1,
      'written-bytes': 4,
      flushes: 1,
      discards: 1,
      errors: 1,
    };
    const peer = `127.0.0.1:${client.socket.localPort}`;
    expect(await query()).toMatchObject({ 'x-clients': [peer], 'x-requests': requests });
    client.close();
    // What they asked is not forgotten with them.
    await expect.poll(query).toMatchObject({ 'x-clients': [], 'x-requests': requests });
  });

  it('are waited for at the end also when a command is taking them down', async () => {
    await add('e0');
    const { port } = rig.storage.nbd.server!.addresses[0] as InetAddress;
    const client = await RawNbdClient.connect({ port });
    await client.go({ name: 'disk' });
    const stopped = rig.dispatcher.call('nbd-server-stop');
    await client.untilEnd();
    // Another one may be there by now, and on its way out as well.
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
    await rig.dispatcher.call('nbd-server-start', { addr });
    await rig.dispatcher.call('nbd-server-stop');
    await rig.dispatcher.call('nbd-server-start', { addr });
    await rig.storage.nbd.close();
    expect(users()).toEqual([]);
    client.close();
    await stopped;
  });

  it('are shown and known while the server that goes waits for its clients', async () => {
    let answer = () => {};
    vi.spyOn(disk(), 'read').mockReturnValue(
      new Promise((resolve) => {
        answer = resolve;
      }),
    );
    await add('e0');
    const { port } = rig.storage.nbd.server!.addresses[0] as InetAddress;
    const client = await RawNbdClient.connect({ port });
    await client.go({ name: 'disk' });
    client.request({ type: wire.NBD_CMD_READ, offset: 0, length: 512 });
    await expect.poll(() => disk().read).toHaveBeenCalled();
    const stopped = rig.dispatcher.call('nbd-server-stop');
    const [shown] = await rig.dispatcher.call('query-block-exports');
    expect(shown).toMatchObject({ id: 'e0', 'shutting-down': true });
    const del = rig.dispatcher.call('block-export-del', { id: 'e0', mode: 'hard' });
    await expect(del).rejects.toThrow("Export 'e0' is already shutting down");
    answer();
    await stopped;
    expect(await rig.dispatcher.call('query-block-exports')).toEqual([]);
    client.close();
  });

  it('go with the server, and a new one can start', async () => {
    await add('e0');
    await rig.dispatcher.call('nbd-server-stop');
    expect(await rig.dispatcher.call('query-block-exports')).toEqual([]);
    await expect(add('e0')).rejects.toThrow('NBD server not running');
    const addr = { type: 'inet', data: { host: '127.0.0.1', port: '0' } } as const;
    const start = () => rig.dispatcher.call('nbd-server-start', { addr });
    const results = await Promise.allSettled([start(), start()]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  it.each(['', 'http', '-1', '65536', '1e3'])('cannot be offered on port "%s"', async (port) => {
    await rig.dispatcher.call('nbd-server-stop');
    const addr = { type: 'inet', data: { host: '127.0.0.1', port } } as const;
    await expect(rig.dispatcher.call('nbd-server-start', { addr })).rejects.toThrow(
      `Invalid port '${port}' of host '127.0.0.1'`,
    );
  });
});
