import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { BlockGraph } from '../../../src/block/graph.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { ThrottleGroup } from '../../../src/block/throttle-group.ts';
import { ThrottleNode } from '../../../src/block/throttle-node.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { KiB, MiB, SPARSE_READ_BYTES_MIN } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { pattern } from '../../support/mirror-rig.ts';
import { type NbdRig, startNbdRig } from '../../support/nbd-rig.ts';
import { pause } from '../../support/process.ts';
import type { RawNbdClient, Reply } from '../../support/raw-nbd-client.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const { NBD_REPLY_TYPE_OFFSET_DATA: DATA, NBD_REPLY_TYPE_OFFSET_HOLE: HOLE } = wire;
const HEAD = pattern(64 * KiB, 1);
const TAIL = pattern(128 * KiB, 2);

/** Data at 1 MiB and at the end of the third. */
async function start(): Promise<{ rig: NbdRig; node: ShakyNode }> {
  const node = new ShakyNode(new MemoryNode('disk', { size: 4 * MiB }));
  node.statusIsFree = true;
  await node.write(1 * MiB, HEAD);
  await node.write(3 * MiB - TAIL.length, TAIL);
  return { rig: await startNbdRig({ node }), node };
}

async function read(client: RawNbdClient, offset: number, length: number, flags = 0) {
  client.request({ type: wire.NBD_CMD_READ, offset, length, flags });
  return client.reply(length);
}

async function structured(rig: NbdRig): Promise<RawNbdClient> {
  const client = await rig.connect();
  await client.go({ structured: true });
  return client;
}

/** Each chunk as its type, where it stands, and how long what it stands for is. */
function layout({ chunks }: Reply): [number, number, number][] {
  return chunks.map(({ type, payload }) => [
    type,
    Number(payload.readBigUInt64BE()),
    type === HOLE ? payload.readUInt32BE(8) : payload.length - 8,
  ]);
}

function contentsOf({ chunks }: Reply): Buffer {
  return Buffer.concat(
    chunks.map(({ type, payload }) =>
      type === HOLE ? Buffer.alloc(payload.readUInt32BE(8)) : payload.subarray(8),
    ),
  );
}

describe('a long READ of a disk that knows its holes', () => {
  it.each([
    ['at once', () => undefined],
    ['later', () => new Promise<void>((resolve) => setImmediate(resolve))],
  ])('names them, and sends the data in between that the disk reads %s', async (_name, wait) => {
    const { rig, node } = await start();
    node.meddle = (verb) => (verb === 'read' ? wait() : undefined);
    const client = await structured(rig);
    const reply = await read(client, 512 * KiB, 3 * MiB);
    expect(layout(reply)).toEqual([
      [HOLE, 512 * KiB, 512 * KiB],
      [DATA, 1 * MiB, HEAD.length],
      [HOLE, 1 * MiB + HEAD.length, 2 * MiB - HEAD.length - TAIL.length],
      [DATA, 3 * MiB - TAIL.length, TAIL.length],
      [HOLE, 3 * MiB, 512 * KiB],
    ]);
    const expected = Buffer.alloc(3 * MiB);
    HEAD.copy(expected, 512 * KiB);
    TAIL.copy(expected, 2.5 * MiB - TAIL.length);
    expect(contentsOf(reply).equals(expected)).toBe(true);
    expect(layout(await read(client, 0, 1 * MiB))).toEqual([[HOLE, 0, 1 * MiB]]);
    expect(layout(await read(client, 1 * MiB, 64 * KiB))).toEqual([[DATA, 1 * MiB, 64 * KiB]]);
  });

  it('is one chunk with DF (RD-07), and plain data without structured replies', async () => {
    const { rig } = await start();
    const whole = await read(await structured(rig), 0, 2 * MiB, wire.NBD_CMD_FLAG_DF);
    expect(layout(whole)).toEqual([[DATA, 0, 2 * MiB]]);
    const client = await rig.connect();
    await client.go();
    const plain = (await read(client, 0, 2 * MiB)).chunks[0]!.payload;
    expect(plain.equals(contentsOf(whole))).toBe(true);
    expect(plain.subarray(1 * MiB, 1 * MiB + HEAD.length).equals(HEAD)).toBe(true);
  });

  it('fails as a whole when one part cannot be read', async () => {
    const { rig, node } = await start();
    let slowReadEnded = false;
    node.meddle = (verb, { offset }) => {
      if (verb !== 'read') return undefined;
      if (offset > 1 * MiB) throw new BlockError('EIO', 'worn out');
      return new Promise((resolve) => {
        setImmediate(() => {
          slowReadEnded = true;
          resolve();
        });
      });
    };
    const client = await structured(rig);
    const reply = await read(client, 0, 4 * MiB);
    expect(reply).toMatchObject({ error: wire.NBD_EIO, chunks: [] });
    expect(slowReadEnded).toBe(true);
    node.meddle = () => {};
    expect((await read(client, 0, 4 * MiB)).chunks).toHaveLength(5);
  });
});

describe('a throttled disk', () => {
  it('counts a long READ of holes as one READ of its length', async () => {
    const graph = new BlockGraph();
    const disk = new MemoryNode('below', { size: 4 * MiB });
    const group = new ThrottleGroup('tg', { 'bps-read': 1 * MiB }, new FakeClock());
    const use = graph.use(disk, { kind: 'node', name: 'disk' }, { writable: true });
    const rig = await startNbdRig({ node: new ThrottleNode('disk', use, group) });
    const client = await structured(rig);
    await read(client, 0, 1 * MiB);
    let answered = false;
    const second = read(client, 1 * MiB, 1 * MiB).then(() => {
      answered = true;
    });
    await pause(30);
    expect(answered).toBe(false);
    rig.node.hurry();
    await second;
  });
});

describe('the block status is not asked for', () => {
  it.each([
    ['a short READ', true, SPARSE_READ_BYTES_MIN - 1],
    ['a disk that has to ask somebody', false, 1 * MiB],
  ])('before %s', async (_name, statusIsFree, length) => {
    const { rig, node } = await start();
    node.statusIsFree = statusIsFree;
    const asked: string[] = [];
    node.meddle = (verb) => {
      asked.push(verb);
    };
    const reply = await read(await structured(rig), 0, length);
    expect(layout(reply)).toEqual([[DATA, 0, length]]);
    expect(asked).toEqual(['read']);
  });
});
