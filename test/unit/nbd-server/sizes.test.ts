import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { decodeInfo } from '../../../protocol/nbd/handshake.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import {
  GiB,
  MiB,
  NBD_PAYLOAD_BYTES_MAX,
  NBD_SWALLOW_BYTES_MAX,
} from '../../../src/util/limits.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';

const { NBD_CMD_READ: READ, NBD_CMD_WRITE: WRITE } = wire;

describe('block sizes', () => {
  it('are told without being asked: 1, at least 4096, 64 MiB (SZ-01, SZ-02, SZ-03)', async () => {
    const client = await (await startNbdRig()).connect();
    const infos = (await client.go()).slice(0, -1).map(({ data }) => decodeInfo(data));
    expect(infos).toContainEqual({
      type: wire.NBD_INFO_BLOCK_SIZE,
      minimum: 1,
      preferred: 4096,
      maximum: 64 * MiB,
    });
  });

  it('are never larger than a request may be, whatever the disk prefers', async () => {
    const node = new MemoryNode('disk', { size: GiB });
    Object.assign(node, { limits: { ...node.limits, preferredBytes: 2 * GiB } });
    const client = await (await startNbdRig({ node })).connect();
    const infos = (await client.go()).slice(0, -1).map(({ data }) => decodeInfo(data));
    expect(infos).toContainEqual(expect.objectContaining({ preferred: 64 * MiB }));
  });

  it('the size of an odd disk is told exactly', async () => {
    const node = new MemoryNode('disk', { size: 1 * MiB + 37 });
    const client = await (await startNbdRig({ node })).connect();
    const [info] = await client.go();
    expect(decodeInfo(info!.data)).toMatchObject({ size: 1 * MiB + 37 });
    client.request({ type: READ, offset: 1 * MiB, length: 37 });
    expect((await client.reply(37)).chunks[0]!.payload.length).toBe(37);
  });
});

describe('large requests', () => {
  it('of the maximum are served both ways (SZ-05)', async () => {
    const node = new MemoryNode('disk', { size: 128 * MiB });
    const client = await (await startNbdRig({ node })).connect();
    await client.go();
    const length = NBD_PAYLOAD_BYTES_MAX;
    client.request({ type: WRITE, offset: 5, length }, Buffer.alloc(length, 3));
    expect((await client.reply()).error).toBe(0);
    client.request({ type: READ, offset: 4, length });
    const { payload } = (await client.reply(length)).chunks[0]!;
    expect(payload.indexOf(3)).toBe(1);
    expect(payload.indexOf(0, 1)).toBe(-1);
  });

  it('one byte over the maximum gets EINVAL, the payload swallowed', async () => {
    const client = await (await startNbdRig()).connect();
    await client.go();
    const length = NBD_PAYLOAD_BYTES_MAX + 1;
    client.request({ type: WRITE, length, cookieLow: 1 }, Buffer.alloc(length, 3));
    client.request({ type: READ, length: 1, cookieLow: 2 });
    expect(await client.reply()).toMatchObject({ cookie: 1, error: wire.NBD_EINVAL });
    expect((await client.reply(1)).chunks[0]!.payload[0]).toBe(0);
  });

  it('a WRITE that nobody would swallow closes (SZ-06)', async () => {
    const client = await (await startNbdRig()).connect();
    await client.go();
    client.request({ type: WRITE, length: NBD_SWALLOW_BYTES_MAX + 1 });
    expect((await client.untilEnd()).length).toBe(0);
  });

  it.each([wire.NBD_CMD_TRIM, wire.NBD_CMD_WRITE_ZEROES, wire.NBD_CMD_CACHE])(
    'command %d of nearly 4 GiB is served (SZ-07)',
    async (type) => {
      const node = new MemoryNode('disk', { size: 8 * GiB });
      const client = await (await startNbdRig({ node })).connect();
      await client.go();
      client.request({ type, offset: 1 * GiB, length: 0xffffffff });
      expect((await client.reply()).error).toBe(0);
    },
  );
});
