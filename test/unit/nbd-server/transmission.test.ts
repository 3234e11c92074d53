import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import {
  type BlockNode,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from '../../../src/block/node.ts';
import { KiB, MiB } from '../../../src/util/limits.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const {
  NBD_CMD_READ: READ,
  NBD_CMD_WRITE: WRITE,
  NBD_CMD_DISC: DISC,
  NBD_CMD_FLUSH: FLUSH,
  NBD_CMD_TRIM: TRIM,
  NBD_CMD_CACHE: CACHE,
  NBD_CMD_WRITE_ZEROES: ZEROES,
  NBD_CMD_FLAG_FUA: FUA,
} = wire;
const SIZE = 4 * MiB;

/** Every request waits one turn of the event loop. */
function slowDisk(): ShakyNode {
  const node = new ShakyNode(new MemoryNode('disk', { size: SIZE }));
  node.meddle = () => new Promise((resolve) => setImmediate(resolve));
  return node;
}

const DISKS: [string, () => BlockNode][] = [
  ['a disk that answers at once', () => new MemoryNode('disk', { size: SIZE })],
  ['a disk that takes its time', slowDisk],
];

describe.each(DISKS)('%s', (_name, makeDisk) => {
  it.each([
    [0, 1],
    [1, 511],
    [4096, 4096],
    [777, 100_000],
    [64 * KiB - 1, 2 * MiB],
    [0, SIZE],
  ])('reads back what was written: %d+%d (RD-02, WR-01, SZ-04)', async (offset, length) => {
    const client = await (await startNbdRig({ node: makeDisk() })).connect();
    await client.go();
    const data = Buffer.alloc(length);
    for (let at = 0; at < length; at++) data[at] = at % 251;
    client.request({ type: WRITE, offset, length }, data);
    expect((await client.reply()).error).toBe(0);
    client.request({ type: READ, offset, length });
    expect((await client.reply(length)).chunks[0]!.payload.equals(data)).toBe(true);
  });

  it('answers structured READs in one data chunk, and everything with its cookie', async () => {
    const client = await (await startNbdRig({ node: makeDisk() })).connect();
    await client.go({ structured: true });
    client.request({ type: WRITE, offset: 100, length: 3, cookieLow: 0xffffffff }, 'abc');
    expect(await client.reply()).toMatchObject({ cookie: 0xffffffff, error: 0 });
    for (const length of [3, 50_000]) {
      client.request({ type: READ, offset: 100, length, flags: wire.NBD_CMD_FLAG_DF });
      const { chunks } = await client.reply();
      expect(chunks.map(({ type }) => type)).toEqual([wire.NBD_REPLY_TYPE_OFFSET_DATA]);
      const { payload } = chunks[0]!;
      expect(payload.length).toBe(8 + length);
      expect(payload.subarray(0, 11).toString('latin1')).toBe('\0\0\0\0\0\0\0dabc');
    }
  });

  it('answers each of many requests in flight, repeated cookies too (RQ-02, RQ-03)', async () => {
    const client = await (await startNbdRig({ node: makeDisk() })).connect();
    await client.go();
    const count = 1000;
    for (let index = 0; index < count; index++) {
      client.request({ type: READ, offset: index * 4096, length: 10, cookieLow: index >>> 1 });
    }
    const seen = new Map<number, number>();
    for (let index = 0; index < count; index++) {
      const { cookie } = await client.reply(10);
      seen.set(cookie, (seen.get(cookie) ?? 0) + 1);
    }
    expect(seen.size).toBe(count / 2);
    expect([...seen.values()].every((times) => times === 2)).toBe(true);
  });

  it('carries out writes before DISC and answers them, then ends (WR-05, DC-01)', async () => {
    const node = makeDisk();
    const client = await (await startNbdRig({ node })).connect();
    await client.go();
    for (let index = 0; index < 50; index++) {
      client.request({ type: WRITE, offset: index * 8192, length: 4096 }, Buffer.alloc(4096, 9));
    }
    client.request({ type: DISC, flags: 0xffff, offset: 5, length: 5 });
    client.request({ type: WRITE, offset: 1 * MiB, length: 4 }, 'late');
    expect((await client.untilEnd()).length).toBe(50 * 16);
    const written = Buffer.alloc(4);
    await node.read(49 * 8192, written);
    expect([...written]).toEqual([9, 9, 9, 9]);
    await node.read(1 * MiB, written);
    expect([...written]).toEqual([0, 0, 0, 0]);
  });

  it('answers a client that has half-closed (RB-06)', async () => {
    const client = await (await startNbdRig({ node: makeDisk() })).connect();
    await client.go();
    for (let index = 0; index < 300; index++) client.request({ type: READ, length: 1000 });
    client.socket.end();
    expect((await client.untilEnd()).length).toBe(300 * 1016);
  });

  it.each([READ, WRITE, FLUSH, TRIM, CACHE, ZEROES])(
    'takes command %d with length 0, with and without FUA (RD-05, FU-03)',
    async (type) => {
      for (const structured of [false, true]) {
        const client = await (await startNbdRig({ node: makeDisk() })).connect();
        await client.go({ structured });
        for (const flags of [0, FUA]) {
          client.request({ type, flags, offset: SIZE });
          expect((await client.reply()).error).toBe(0);
        }
      }
    },
  );
});

describe('flags', () => {
  class RecordingNode extends MemoryNode {
    readonly seen: [string, number][] = [];
    protected override doWrite(offset: number, data: Buffer, flags = 0): void {
      this.seen.push(['write', flags]);
      super.doWrite(offset, data);
    }
    protected override doWriteZeroes(offset: number, length: number, flags: number): void {
      this.seen.push(['zeroes', flags]);
      super.doWriteZeroes(offset, length, flags);
    }
    protected override doDiscard(offset: number, length: number, flags = 0): void {
      this.seen.push(['discard', flags]);
      super.doDiscard(offset, length);
    }
  }

  it.each([
    [WRITE, 0, 'write', 0],
    [WRITE, FUA, 'write', WRITE_FUA],
    [TRIM, FUA, 'discard', WRITE_FUA],
    [ZEROES, 0, 'zeroes', ZERO_MAY_UNMAP],
    [ZEROES, wire.NBD_CMD_FLAG_NO_HOLE, 'zeroes', 0],
    [
      ZEROES,
      FUA | wire.NBD_CMD_FLAG_FAST_ZERO,
      'zeroes',
      WRITE_FUA | ZERO_MAY_UNMAP | ZERO_NO_FALLBACK,
    ],
  ])('of command %d: %d reach the node (FU-01, WZ-02)', async (type, flags, verb, expected) => {
    const node = new RecordingNode('disk', { size: SIZE });
    const client = await (await startNbdRig({ node })).connect();
    await client.go();
    client.request({ type, flags, length: 512 }, type === WRITE ? Buffer.alloc(512) : '');
    expect((await client.reply()).error).toBe(0);
    expect(node.seen).toEqual([[verb, expected]]);
  });

  it.each([
    [true, false, 0x0d6d],
    [true, true, 0x0ded],
    [false, false, 0x050f],
    [false, true, 0x058f],
  ])(
    'of an export, writable %s, structured %s: %d (TF-01, TF-02)',
    async (writable, structured, flags) => {
      const client = await (await startNbdRig({ export: { writable } })).connect();
      const [info] = await client.go({ structured });
      expect(info!.data.readUInt16BE(10)).toBe(flags);
    },
  );

  it('do not promise CAN_MULTI_CONN to the only client', async () => {
    const client = await (await startNbdRig({ server: { connectionsMax: 1 } })).connect();
    const [info] = await client.go();
    expect(info!.data.readUInt16BE(10) & wire.NBD_FLAG_CAN_MULTI_CONN).toBe(0);
  });
});

describe('an export whose node is replaced', () => {
  it('serves the next request from the new node', async () => {
    const rig = await startNbdRig();
    const client = await rig.connect();
    await client.go();
    const other = new MemoryNode('other', { size: SIZE });
    await other.write(0, Buffer.from('other'));
    rig.graph.add(other);
    rig.graph.replace(rig.node, other);
    client.request({ type: READ, length: 5 });
    expect((await client.reply(5)).chunks[0]!.payload.toString()).toBe('other');
  });
});
