import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import type { RequestHeader } from '../../../protocol/nbd/transmission.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { KiB, MiB } from '../../../src/util/limits.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const SIZE = 4 * MiB;
const {
  NBD_CMD_READ: READ,
  NBD_CMD_WRITE: WRITE,
  NBD_CMD_FLUSH: FLUSH,
  NBD_CMD_TRIM: TRIM,
  NBD_CMD_CACHE: CACHE,
  NBD_CMD_WRITE_ZEROES: ZEROES,
  NBD_CMD_BLOCK_STATUS: STATUS,
  NBD_EINVAL: EINVAL,
  NBD_ENOSPC: ENOSPC,
  NBD_EPERM: EPERM,
} = wire;

type Case = [string, Partial<RequestHeader>, number];

const REFUSED: Case[] = [
  ['READ past the end (RD-03)', { type: READ, offset: SIZE - 10, length: 11 }, EINVAL],
  ['READ far past the end (RD-03)', { type: READ, offset: 2 ** 52, length: 1 }, EINVAL],
  ['READ of 4 GiB (SZ-06)', { type: READ, length: 0xffffffff }, EINVAL],
  ['WRITE past the end (WR-03)', { type: WRITE, offset: SIZE - 1, length: 2 }, ENOSPC],
  ['TRIM past the end (TR-02)', { type: TRIM, offset: SIZE, length: 1 }, EINVAL],
  ['CACHE past the end (CA-02)', { type: CACHE, offset: SIZE, length: 1 }, EINVAL],
  ['WRITE_ZEROES past the end (WZ-07)', { type: ZEROES, offset: 1, length: SIZE }, ENOSPC],
  ['an unknown command (ER-08)', { type: 99 }, EINVAL],
  ['RESIZE', { type: wire.NBD_CMD_RESIZE, offset: SIZE }, EINVAL],
  ['an unknown flag on CACHE (CA-03)', { type: CACHE, flags: 0x80, length: 1 }, EINVAL],
  ['NO_HOLE on WRITE (ER-09)', { type: WRITE, flags: 2, length: 5000 }, EINVAL],
  ['PAYLOAD_LEN on WRITE (XH-05)', { type: WRITE, flags: 32, length: 5000 }, EINVAL],
  ['REQ_ONE on READ (ER-09)', { type: READ, flags: 8, length: 512 }, EINVAL],
  ['DF without agreement (RD-07)', { type: READ, flags: 4, length: 512 }, EINVAL],
  ['BLOCK_STATUS without contexts (BS-02)', { type: STATUS, length: 512 }, EINVAL],
];

describe('a request that cannot be served', () => {
  it.each(REFUSED)('%s gets its error, in step', async (_name, request, error) => {
    const { connect } = await startNbdRig();
    const client = await connect();
    await client.go();
    const payload = request.type === WRITE ? Buffer.alloc(request.length!, 7) : '';
    client.request({ ...request, cookieLow: 1 }, payload);
    client.request({ type: READ, offset: SIZE - 512, length: 512, cookieLow: 2 });
    expect(await client.reply()).toMatchObject({ cookie: 1, error, structured: false });
    const next = await client.reply(512);
    expect(next).toMatchObject({ cookie: 2, error: 0 });
    expect(next.chunks[0]!.payload.every((byte) => byte === 0)).toBe(true);
  });

  it('an offset beyond all numbers is past the end', async () => {
    const client = await (await startNbdRig()).connect();
    await client.go();
    const head =
      '25609513' + '0000' + '0000' + '0000000000000009' + 'ffffffffffffff00' + '00000200';
    client.send(Buffer.from(head, 'hex'));
    expect(await client.reply()).toMatchObject({ cookie: 9, error: EINVAL });
  });

  it.each([
    ['READ', { type: READ, offset: SIZE, length: 1 }],
    ['WRITE', { type: WRITE, offset: SIZE, length: 0, flags: 2 }],
    ['BLOCK_STATUS', { type: STATUS, length: 512 }],
  ])(
    '%s gets an error chunk with a message when structured (SR-01, SR-05)',
    async (_n, request) => {
      const client = await (await startNbdRig()).connect();
      await client.go({ structured: true });
      client.request({ ...request, cookieLow: 3 });
      const reply = await client.reply();
      expect(reply).toMatchObject({ cookie: 3, error: EINVAL, structured: true });
      expect(reply.message).not.toBe('');
    },
  );

  it.each([WRITE, TRIM, ZEROES])(
    'command %d on a read-only export gets EPERM (RO-01)',
    async (type) => {
      const { connect } = await startNbdRig({ export: { writable: false } });
      const client = await connect();
      await client.go();
      client.request({ type, length: 512 }, type === WRITE ? Buffer.alloc(512, 1) : '');
      client.request({ type: FLUSH, cookieLow: 2 });
      expect((await client.reply()).error).toBe(EPERM);
      expect(await client.reply()).toMatchObject({ cookie: 2, error: 0 });
    },
  );

  it('a wrong magic number closes (RQ-01)', async () => {
    const client = await (await startNbdRig()).connect();
    await client.go();
    client.send(Buffer.alloc(28, 0x25));
    expect((await client.untilEnd()).length).toBe(0);
  });
});

describe('a node that fails', () => {
  const fail = { at: 'once', later: 'later' } as const;
  it.each([fail.at, fail.later])(
    '%s is reported with its errno, and serving goes on',
    async (when) => {
      const node = new ShakyNode(new MemoryNode('disk', { size: SIZE }));
      const { connect } = await startNbdRig({ node });
      const client = await connect();
      await client.go({ structured: true });
      const error = new BlockError('ENOSPC', 'the disk is full');
      node.meddle = () => {
        if (when === 'later') return Promise.reject(error);
        throw error;
      };
      const requests: Partial<RequestHeader>[] = [
        { type: READ, length: 512 },
        { type: READ, length: 256 * KiB },
        { type: WRITE, length: 512 },
        { type: FLUSH },
        { type: TRIM, length: 512 },
        { type: ZEROES, length: 512 },
      ];
      for (const [cookieLow, request] of requests.entries()) {
        client.request({ ...request, cookieLow }, request.type === WRITE ? Buffer.alloc(512) : '');
        const reply = await client.reply();
        expect(reply).toMatchObject({ cookie: cookieLow, error: ENOSPC });
        expect(reply.message).toBe('the disk is full');
      }
      node.meddle = () => {};
      client.request({ type: READ, length: 512 });
      expect((await client.reply()).error).toBe(0);
    },
  );

  it('to zero fast tells ENOTSUP only to who asked for it (WZ-04)', async () => {
    const node = new ShakyNode(new MemoryNode('disk', { size: SIZE }));
    node.meddle = () => {
      throw new BlockError('ENOTSUP', 'not fast');
    };
    const client = await (await startNbdRig({ node })).connect();
    await client.go();
    client.request({ type: ZEROES, length: 512, flags: wire.NBD_CMD_FLAG_FAST_ZERO });
    expect((await client.reply()).error).toBe(wire.NBD_ENOTSUP);
    client.request({ type: ZEROES, length: 512 });
    expect((await client.reply()).error).toBe(EINVAL);
  });
});
