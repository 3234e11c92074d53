import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import {
  decodeMetaContext,
  encodeGoRequest,
  encodeMetaContextRequest,
} from '../../../protocol/nbd/handshake.ts';
import { decodeBlockStatus } from '../../../protocol/nbd/transmission.ts';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { KiB, MiB } from '../../../src/util/limits.ts';
import { type NbdRig, startNbdRig } from '../../support/nbd-rig.ts';
import type { RawNbdClient, Reply } from '../../support/raw-nbd-client.ts';

const { NBD_OPT_LIST_META_CONTEXT: LIST, NBD_OPT_SET_META_CONTEXT: SET } = wire;
const ALL = ['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:b0'];
const ask = (queries: string[], exportName = '') =>
  encodeMetaContextRequest({ exportName, queries });

async function rigWithContexts(): Promise<NbdRig> {
  const b0 = new DirtyBitmap({ name: 'b0', size: 4 * MiB, granularity: 64 * KiB });
  b0.set(64 * KiB, 1);
  return startNbdRig({ export: { bitmaps: [b0], allocationDepth: true } });
}

async function structured(rig: NbdRig): Promise<RawNbdClient> {
  const client = await rig.connect();
  await client.greet();
  await client.option(wire.NBD_OPT_STRUCTURED_REPLY);
  return client;
}

async function contexts(client: RawNbdClient, option: number, queries: string[]) {
  const replies = await client.option(option, ask(queries));
  expect(replies.at(-1)!.type).toBe(wire.NBD_REP_ACK);
  return replies.slice(0, -1).map(({ data }) => decodeMetaContext(data));
}

async function enter(client: RawNbdClient): Promise<void> {
  await client.option(wire.NBD_OPT_GO, encodeGoRequest({ exportName: '', infos: [] }));
}

async function status(client: RawNbdClient, length: number, flags = 0): Promise<Reply> {
  client.request({ type: wire.NBD_CMD_BLOCK_STATUS, flags, length });
  return client.reply();
}

describe('LIST_META_CONTEXT', () => {
  it.each([
    [[], ALL],
    [['base:'], ['base:allocation']],
    [['qemu:'], ALL.slice(1)],
    [['qemu:dirty-bitmap:'], ALL.slice(2)],
    [
      ['qemu:dirty-bitmap:b0', 'base:allocation'],
      [ALL[0], ALL[2]],
    ],
    [['base:nothing', 'x-unknown:', 'allocation', 'qemu:dirty-bitmap:b1'], []],
  ])('of %j gives %j (MC-01, MC-05, MC-06, MC-08)', async (queries, names) => {
    const client = await structured(await rigWithContexts());
    const found = await contexts(client, LIST, queries);
    expect(found.map(({ name }) => name)).toEqual(names);
    expect(found.every(({ id }) => id === 0)).toBe(true);
  });
});

describe('SET_META_CONTEXT', () => {
  it.each([
    [[], []],
    [['base:'], []],
    [['qemu:dirty-bitmap:'], []],
    [['x-unknown:y'], []],
    [['base:allocation', 'base:allocation'], ['base:allocation']],
    [ALL, ALL],
  ])('of %j selects %j (MC-06, MC-07, MC-13, MC-14)', async (queries, names) => {
    const client = await structured(await rigWithContexts());
    const selected = await contexts(client, SET, queries);
    expect(selected.map(({ name }) => name)).toEqual(names);
    expect(new Set(selected.map(({ id }) => id)).size).toBe(names.length);
    await enter(client);
    const reply = await status(client, 4096);
    expect(reply.chunks.length).toBe(names.length);
    expect(reply.error).toBe(names.length === 0 ? wire.NBD_EINVAL : 0);
  });

  it.each([
    ['no data', Buffer.alloc(0)],
    ['a query that overruns', Buffer.from('000000000000000100000009', 'hex')],
    ['fewer queries than said', Buffer.from('00000000ffffffff', 'hex')],
    ['bytes left over', Buffer.from('000000000000000000', 'hex')],
    ['a query of 5000 bytes', ask(['x'.repeat(5000)])],
  ])('with %s is refused and drops the earlier choice (MC-03, MC-04, MC-10)', async (_n, data) => {
    const client = await structured(await rigWithContexts());
    await contexts(client, SET, ['base:allocation']);
    const replies = await client.option(SET, data);
    expect(replies.map(({ type }) => type)).toEqual([wire.NBD_REP_ERR_INVALID]);
    await enter(client);
    expect((await status(client, 4096)).error).toBe(wire.NBD_EINVAL);
  });

  it('of an unknown export is refused (MC-09)', async () => {
    const client = await structured(await rigWithContexts());
    for (const option of [LIST, SET]) {
      const [reply] = await client.option(option, ask(['base:allocation'], 'nope'));
      expect(reply!.type).toBe(wire.NBD_REP_ERR_UNKNOWN);
    }
  });

  it('before structured replies is refused (MC-02)', async () => {
    const client = await (await rigWithContexts()).connect();
    await client.greet();
    const [reply] = await client.option(SET, ask(['base:allocation']));
    expect(reply!.type).toBe(wire.NBD_REP_ERR_INVALID);
  });

  it('for another export than that of GO does not count (MC-11)', async () => {
    const rig = await rigWithContexts();
    const use = rig.graph.use(rig.node, { kind: 'export', name: 'other' }, { writable: false });
    rig.server.addExport({ id: 'other', name: 'other', writable: false, use });
    const client = await structured(rig);
    await client.option(SET, ask(['base:allocation'], 'other'));
    await enter(client);
    expect((await status(client, 4096)).error).toBe(wire.NBD_EINVAL);
  });

  it('with hundreds of queries is answered right (MC-12)', async () => {
    const client = await structured(await rigWithContexts());
    const many = Array.from({ length: 500 }, (_, index) => `x-many:${index}`);
    expect(await contexts(client, SET, [...many, 'base:allocation'])).toHaveLength(1);
  });
});

describe('BLOCK_STATUS', () => {
  async function described(names: string[], written: number[]) {
    const rig = await rigWithContexts();
    for (const offset of written) await rig.node.write(offset, Buffer.alloc(64 * KiB, 1));
    const client = await structured(rig);
    await contexts(client, SET, names);
    await enter(client);
    return client;
  }
  const extents = (reply: Reply) =>
    reply.chunks.map(({ payload }) => decodeBlockStatus(payload).extents);

  it('gives a chunk a context, with neighbours merged (BS-01, BS-03, BS-05)', async () => {
    const client = await described(ALL, [0, 64 * KiB, 256 * KiB]);
    const reply = await status(client, 1 * MiB);
    expect(extents(reply)).toEqual([
      [
        { length: 128 * KiB, flags: 0 },
        { length: 128 * KiB, flags: 3 },
        { length: 64 * KiB, flags: 0 },
        { length: 704 * KiB, flags: 3 },
      ],
      [{ length: 1 * MiB, flags: 1 }],
      [
        { length: 64 * KiB, flags: 0 },
        { length: 64 * KiB, flags: 1 },
        { length: 896 * KiB, flags: 0 },
      ],
    ]);
  });

  it('with REQ_ONE gives one extent (BS-04)', async () => {
    const client = await described(['base:allocation'], [0]);
    const reply = await status(client, 1 * MiB, wire.NBD_CMD_FLAG_REQ_ONE);
    expect(extents(reply)).toEqual([[{ length: 64 * KiB, flags: 0 }]]);
    expect(extents(await status(client, 512, wire.NBD_CMD_FLAG_REQ_ONE))).toEqual([
      [{ length: 512, flags: 0 }],
    ]);
  });
});

it('contexts of an export that has gone are not those of the next one by its name', async () => {
  const rig = await rigWithContexts();
  const client = await structured(rig);
  expect(await contexts(client, SET, ['base:allocation'])).toHaveLength(1);
  rig.server.removeExport('exp0', 'safe');
  const larger = new MemoryNode('larger', { size: 8 * MiB });
  const use = rig.graph.use(larger, { kind: 'export', name: 'exp1' }, { writable: true });
  rig.server.addExport({ id: 'exp1', name: '', writable: true, use });
  await enter(client);
  client.request({ type: wire.NBD_CMD_BLOCK_STATUS, offset: 4 * MiB, length: 4 * MiB });
  expect(await client.reply()).toMatchObject({ error: wire.NBD_EINVAL });
});
