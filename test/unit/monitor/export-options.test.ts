import { createServer } from 'node:net';
import { beforeEach, describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { encodeGoRequest } from '../../../protocol/nbd/handshake.ts';
import { currentScope } from '../../support/peers.ts';
import { freePort, pause } from '../../support/process.ts';
import { type QmpRig, startQmpRig } from '../../support/qmp-rig.ts';
import { RawNbdClient } from '../../support/raw-nbd-client.ts';

let rig: QmpRig;
const EXPORT = { type: 'nbd', id: 'e0', 'node-name': 'disk' };

beforeEach(async () => {
  rig = await startQmpRig();
  await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'disk', size: 1 << 20 });
});

async function connect(where: { path: string } | { port: number } = { path: rig.socket }) {
  const client = await RawNbdClient.connect(where);
  currentScope().onClose(async () => client.close());
  return client;
}

describe('block-export-add', () => {
  it('takes a description of up to 4096 bytes and shows it to clients', async () => {
    await rig.startNbdServer();
    const description = 'é'.repeat(2048);
    const tooLong = `${description}!`;
    expect(await rig.refusal('block-export-add', { ...EXPORT, description: tooLong })).toBe(
      `description '${tooLong}' too long`,
    );
    await rig.execute('block-export-add', { ...EXPORT, description });
    const client = await connect();
    await client.greet();
    const infos = [wire.NBD_INFO_DESCRIPTION];
    const request = encodeGoRequest({ exportName: 'disk', infos });
    const replies = await client.option(wire.NBD_OPT_INFO, request);
    const shown = replies.find(
      ({ type, data }) =>
        type === wire.NBD_REP_INFO && data.readUInt16BE() === wire.NBD_INFO_DESCRIPTION,
    );
    expect(shown!.data.subarray(2).toString()).toBe(description);
    const [listed] = await client.option(wire.NBD_OPT_LIST);
    expect(listed!.data.subarray(4).toString()).toBe(`disk${description}`);
  });

  it('takes no strings that the protocol cannot say', async () => {
    await rig.startNbdServer();
    expect(await rig.refusal('block-export-add', { ...EXPORT, name: 'a\0b' })).toBe(
      'export name contains NUL',
    );
    expect(await rig.refusal('block-export-add', { ...EXPORT, description: 'a\0b' })).toBe(
      'description contains NUL',
    );
    const named = { node: 'disk', name: 'a\0b' };
    expect(await rig.refusal('block-dirty-bitmap-add', named)).toBe('Bitmap name contains NUL');
  });

  it('takes an iothread as a hint, and refuses to be bound to it', async () => {
    await rig.startNbdServer();
    await rig.execute('object-add', { 'qom-type': 'iothread', id: 'io0' });
    const fixed = { ...EXPORT, iothread: 'io0', 'fixed-iothread': true };
    expect(await rig.refusal('block-export-add', fixed)).toBe(
      "Cannot fix export 'e0' to iothread 'io0': one thread serves all exports",
    );
    await rig.execute('block-export-add', { ...EXPORT, iothread: 'io0' });
    await rig.execute('block-export-add', {
      ...EXPORT,
      id: 'e1',
      name: 'b',
      'fixed-iothread': true,
    });
  });

  it('offers the bitmap of another node', async () => {
    await rig.startNbdServer();
    await rig.execute('blockdev-add', { driver: 'raw', 'node-name': 'top', file: 'disk' });
    await rig.execute('block-dirty-bitmap-add', { node: 'disk', name: 'b', disabled: true });
    const bitmaps = [{ node: 'disk', name: 'b' }];
    await rig.execute('block-export-add', { ...EXPORT, 'node-name': 'top', bitmaps });
    expect(await rig.refusal('block-dirty-bitmap-remove', { node: 'disk', name: 'b' })).toContain(
      'in use',
    );
  });
});

describe('block-export-del', () => {
  it('of a disk that is being mirrored leaves the mirror alone', async () => {
    await rig.startNbdServer();
    await rig.execute('block-export-add', { ...EXPORT, writable: true });
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'copy', size: 1 << 20 });
    const mirror = { 'job-id': 'm0', device: 'disk', target: 'copy', sync: 'full' };
    await rig.execute('blockdev-mirror', mirror);
    await rig.qmp.event('BLOCK_JOB_READY');
    await rig.execute('block-export-add', { ...EXPORT, id: 'e1', name: 'late', writable: true });
    const client = await connect();
    await client.go({ name: 'late' });
    client.request({ type: wire.NBD_CMD_WRITE, length: 4 }, 'data');
    expect((await client.reply()).error).toBe(0);
    await rig.execute('block-export-del', { id: 'e0' });
    await rig.execute('block-export-del', { id: 'e1', mode: 'hard' });
    await rig.qmp.event('BLOCK_EXPORT_DELETED', ({ id }) => id === 'e1');
    await rig.execute('job-complete', { id: 'm0' });
    await rig.qmp.event('BLOCK_JOB_COMPLETED', (data) => data['error'] === undefined);
    await rig.execute('block-export-add', { ...EXPORT, 'node-name': 'copy' });
    const reader = await connect();
    await reader.go({ name: 'copy' });
    reader.request({ type: wire.NBD_CMD_READ, length: 4 });
    expect((await reader.reply(4)).chunks[0]!.payload.toString()).toBe('data');
  });
});

describe('nbd-server-start', () => {
  const start = (data: object) => ['nbd-server-start', { addr: { type: 'inet', data } }] as const;

  it('takes the next port of a range when the first is taken', async () => {
    const port = await freePort();
    const taken = createServer().listen(port, '127.0.0.1');
    currentScope().onClose(async () => taken.close());
    const host = '127.0.0.1';
    expect(await rig.refusal(...start({ host, port: `${port}`, to: port }))).toContain('in use');
    expect(await rig.refusal(...start({ host, port: `${port}`, to: port - 1 }))).toBe(
      `Invalid last port ${port - 1}: expected ${port} to 65535`,
    );
    await rig.execute(...start({ host, port: `${port}`, to: port + 20 }));
    await rig.execute('block-export-add', EXPORT);
  });

  it('refuses a descriptor as address', async () => {
    const given = { addr: { type: 'fd', data: { str: '3' } } };
    expect(await rig.refusal('nbd-server-start', given)).toBe(
      "Parameter 'type' does not accept value 'fd'",
    );
  });

  it('serves max-connections clients at a time, 0 for any number', async () => {
    await rig.startNbdServer({ 'max-connections': 2 });
    await rig.execute('block-export-add', EXPORT);
    const clients = [await connect(), await connect(), await connect()];
    await clients[0]!.go({ name: 'disk' });
    await clients[1]!.go({ name: 'disk' });
    const third = clients[2]!.go({ name: 'disk' });
    expect(await Promise.race([third, pause(30)])).toBeUndefined();
    clients[0]!.close();
    expect(await third).toBeDefined();
  });

  it('cuts a handshake that takes longer than handshake-max-seconds', async () => {
    await rig.startNbdServer({ 'handshake-max-seconds': 1 });
    await rig.execute('block-export-add', EXPORT);
    const [slow, quick] = [await connect(), await connect()];
    await quick.go({ name: 'disk' });
    await slow.greet();
    expect(await slow.untilEnd()).toHaveLength(0);
    quick.request({ type: wire.NBD_CMD_READ, length: 4 });
    expect((await quick.reply(4)).error).toBe(0);
  });
});
