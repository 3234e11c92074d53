import { once } from 'node:events';
import fs from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_ENOSPC,
  NBD_EPERM,
} from '../../../protocol/nbd/constants.ts';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import type { CopyMode } from '../../../src/block/mirror-top.ts';
import type { BlockNode } from '../../../src/block/node.ts';
import { RawNode } from '../../../src/block/raw-node.ts';
import type { SyncMode } from '../../../src/job/mirror-scan.ts';
import { JobRegistry } from '../../../src/job/registry.ts';
import { startMirror } from '../../../src/job/start-mirror.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { BlockError } from '../../../src/util/errors.ts';
import { DIRECT_WRITE_BYTES_MIN, KiB, MiB } from '../../../src/util/limits.ts';
import { silentLog } from '../../../src/util/log.ts';
import type { FileKind } from '../../conformance/make-file-node.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { startFileRig } from '../../support/file-rig.ts';
import { contents, pattern } from '../../support/mirror-rig.ts';
import type { NbdRig } from '../../support/nbd-rig.ts';
import { encodeRequest, RawNbdClient } from '../../support/raw-nbd-client.ts';

const SIZE = 4 * MiB;
const LONG = 512 * KiB;

/** A client of a file whose next long WRITE goes past our memory, and what goes so. */
async function directRig(kind: FileKind = {}) {
  const rig = await startFileRig(SIZE, {}, { clock: new FakeClock(), ...kind });
  const receive = vi.spyOn(rig.node, 'receive');
  const client = await rig.connect();
  await client.go();
  // The header of the first one came together with the beginning of its payload.
  await write(client, 0, pattern(LONG, 1));
  receive.mockClear();
  const directBytes = () =>
    receive.mock.results.reduce((sum, { value }) => sum + (value?.writtenBytes ?? 0), 0);
  return { ...rig, client, receive, directBytes };
}

async function write(client: RawNbdClient, offset: number, data: Buffer, flags = 0) {
  client.request({ type: NBD_CMD_WRITE, offset, length: data.length, flags }, data);
  return (await client.reply()).error;
}

/** Sends a WRITE of `LONG` bytes without its end, and waits until its beginning is written. */
async function writeBeginning(
  { client, directBytes }: Awaited<ReturnType<typeof directRig>>,
  data: Buffer,
) {
  client.send(encodeRequest({ type: NBD_CMD_WRITE, offset: MiB, length: LONG }), data);
  await expect.poll(() => directBytes()).toBe(data.length);
}

function recording(node: BlockNode): DirtyBitmap {
  const bitmap = new DirtyBitmap({ name: 'b', size: SIZE, granularity: 64 * KiB });
  node.addBitmap(bitmap);
  node.setRecording(bitmap, true);
  return bitmap;
}

/** A mirror of the file to memory. */
function mirror(
  { graph, node }: Pick<NbdRig, 'graph' | 'node'>,
  copyMode: CopyMode,
  sync: SyncMode = 'full',
) {
  const jobs = new JobRegistry({ clock: systemClock, log: silentLog, onEvent() {} });
  const target = new MemoryNode('target', { size: SIZE });
  graph.add(target);
  const job = startMirror(jobs, graph, {
    ...{ id: 'm0', source: node, target, sync, copyMode, filterNodeName: 'top' },
  });
  return { job, target };
}

describe('a long WRITE to a file', () => {
  it('goes from the socket to the file, and is counted like any other', async () => {
    const rig = await directRig();
    const data = pattern(LONG, 2);
    expect(await write(rig.client, MiB, data)).toBe(0);
    expect(rig.directBytes()).toBe(LONG);
    expect(
      fs
        .readFileSync(rig.filename)
        .subarray(MiB, MiB + LONG)
        .equals(data),
    ).toBe(true);
    expect(rig.export.counters).toMatchObject({ writes: 2, writtenBytes: 2 * LONG, errors: 0 });
    const [served] = rig.export.clients;
    expect(served!.bytesReceived).toBeGreaterThan(2 * LONG);
  });

  it('does so over TCP', async () => {
    const { node, connectTcp, filename } = await startFileRig(SIZE, {}, { clock: new FakeClock() });
    const receive = vi.spyOn(node, 'receive');
    const client = await connectTcp();
    await client.go();
    for (const seed of [1, 2]) await write(client, 0, pattern(2 * MiB, seed));
    expect(receive).toHaveBeenCalled();
    expect(
      fs
        .readFileSync(filename)
        .subarray(0, 2 * MiB)
        .equals(pattern(2 * MiB, 2)),
    ).toBe(true);
  });

  it('is answered only when all of it has come', async () => {
    const rig = await directRig();
    await writeBeginning(rig, pattern(64 * KiB, 2));
    rig.client.send(pattern(LONG - 64 * KiB, 3));
    expect((await rig.client.reply()).error).toBe(0);
    expect(rig.directBytes()).toBe(LONG);
  });

  it('waits for the whole of a block: the rest of it may be on the disk only', async () => {
    const rig = await directRig();
    const { client } = rig;
    client.send(
      encodeRequest({ type: NBD_CMD_WRITE, offset: MiB, length: LONG }),
      pattern(10_000, 2),
    );
    await expect.poll(() => rig.directBytes()).toBe(8192);
    client.send(pattern(LONG - 10_000, 3));
    expect((await client.reply()).error).toBe(0);
    const expected = Buffer.concat([pattern(10_000, 2), pattern(LONG - 10_000, 3)]);
    expect(
      fs
        .readFileSync(rig.filename)
        .subarray(MiB, MiB + LONG)
        .equals(expected),
    ).toBe(true);
  });

  it('makes data of a hole that was looked at before', async () => {
    const rig = await directRig();
    const isHole = async (at: number) => (await rig.node.blockStatus(at, 4 * KiB, 1))[0]!.hole;
    expect(await isHole(MiB)).toBe(true);
    expect(await write(rig.client, MiB, pattern(LONG, 2))).toBe(0);
    expect(rig.directBytes()).toBe(LONG);
    expect(await isHole(MiB)).toBe(false);
  });

  it('with FUA is on stable storage, as ever', async () => {
    const rig = await directRig();
    expect(await write(rig.client, MiB, pattern(LONG, 2), NBD_CMD_FLAG_FUA)).toBe(0);
    expect(rig.receive).not.toHaveBeenCalled();
  });

  it('leaves the header of what follows alone', async () => {
    const { client } = await directRig();
    const [data, short] = [pattern(LONG, 2), pattern(100, 3)];
    client.send(
      ...[encodeRequest({ type: NBD_CMD_WRITE, offset: 1, length: LONG, cookieLow: 1 }), data],
      ...[encodeRequest({ type: NBD_CMD_WRITE, offset: 9, length: 100, cookieLow: 2 }), short],
      encodeRequest({ type: NBD_CMD_READ, offset: 1, length: 200, cookieLow: 3 }),
    );
    expect(await client.reply()).toMatchObject({ cookie: 1, error: 0 });
    expect(await client.reply()).toMatchObject({ cookie: 2, error: 0 });
    const { cookie, chunks } = await client.reply(200);
    expect(cookie).toBe(3);
    short.copy(data, 8);
    expect(chunks[0]!.payload.equals(data.subarray(0, 200))).toBe(true);
  });

  it('that the file does not take is written as any other, with the error of that', async () => {
    const rig = await directRig();
    rig.receive.mockImplementation((_offset, _length, { head, socket }) => {
      const taken = Buffer.alloc(50_000);
      const takenBytes = fs.readSync(socket, taken, 0, taken.length, null);
      const unwritten = Buffer.concat([head, taken.subarray(0, takenBytes)]);
      return { writtenBytes: 0, takenBytes, unwritten };
    });
    const data = pattern(LONG, 2);
    expect(await write(rig.client, MiB, data)).toBe(0);
    expect(
      fs
        .readFileSync(rig.filename)
        .subarray(MiB, MiB + LONG)
        .equals(data),
    ).toBe(true);
    rig.node.write = () => Promise.reject(new BlockError('ENOSPC', 'The disk is full'));
    expect(await write(rig.client, MiB, data)).toBe(NBD_ENOSPC);
    expect(rig.receive).toHaveBeenCalledTimes(2);
    // Still in step.
    rig.client.request({ type: NBD_CMD_READ, offset: MiB, length: 3 });
    expect((await rig.client.reply(3)).error).toBe(0);
  });

  it('is looked at for zeroes where those become holes', async () => {
    const rig = await directRig({ detectZeroes: 'unmap' });
    expect(await write(rig.client, MiB, Buffer.alloc(LONG))).toBe(0);
    expect(await rig.node.blockStatus(MiB, LONG, 1)).toMatchObject([{ length: LONG, hole: true }]);
  });

  it('goes through a window to its place', async () => {
    const { graph, node, filename, server, socket } = await startFileRig(
      SIZE,
      {},
      { clock: new FakeClock() },
    );
    const use = graph.use(node, { kind: 'node', name: 'raw' }, { writable: true });
    const raw = new RawNode('raw', use, { offset: MiB + 512, size: 2 * MiB });
    graph.add(raw);
    server.addExport({
      ...{ id: 'e1', name: 'raw', writable: true },
      use: graph.use(raw, { kind: 'export', name: 'e1' }, { writable: true }),
    });
    const receive = vi.spyOn(node, 'receive');
    const client = await RawNbdClient.connect({ path: socket });
    await client.go({ name: 'raw' });
    for (const seed of [1, 2]) expect(await write(client, 4096, pattern(MiB, seed))).toBe(0);
    client.close();
    expect(receive.mock.results.some(({ value }) => value.writtenBytes > 0)).toBe(true);
    const there = fs.readFileSync(filename).subarray(MiB + 512 + 4096);
    expect(there.subarray(0, MiB).equals(pattern(MiB, 2))).toBe(true);
  });

  it('ends with an error when the disk becomes read-only in the middle', async () => {
    const rig = await directRig();
    await writeBeginning(rig, pattern(64 * KiB, 2));
    rig.node.setReadOnly(true);
    rig.client.send(pattern(LONG - 64 * KiB, 3));
    expect((await rig.client.reply()).error).toBe(NBD_EPERM);
    expect(rig.directBytes()).toBe(64 * KiB);
  });

  it('is not begun for a node that takes bytes by write alone', async () => {
    const rig = await directRig();
    rig.receive.mockReturnValue(undefined);
    expect(await write(rig.client, MiB, pattern(DIRECT_WRITE_BYTES_MIN, 2))).toBe(0);
    expect(rig.receive).toHaveBeenCalledTimes(1);
  });
});

describe('a long WRITE that is cut off', () => {
  it('is in the bitmaps as far as it came', async () => {
    const rig = await directRig();
    const bitmap = recording(rig.node);
    await writeBeginning(rig, pattern(128 * KiB, 2));
    rig.client.close();
    expect(bitmap.count).toBe(128 * KiB);
    expect(bitmap.isDirty(MiB)).toBe(true);
  });

  it('is in no bitmap that begins later', async () => {
    const rig = await directRig();
    await writeBeginning(rig, pattern(128 * KiB, 2));
    rig.client.close();
    await expect.poll(() => rig.export.clients.size).toBe(0);
    expect(recording(rig.node).count).toBe(0);
  });

  it('is mirrored as far as it came', async () => {
    const rig = await directRig();
    const { job, target } = mirror(rig, 'background');
    await expect.poll(() => job.status).toBe('ready');
    await writeBeginning(rig, pattern(128 * KiB, 2));
    rig.client.close();
    await once(rig.client.socket, 'close');
    job.complete();
    await job.ended;
    expect((await contents(target)).equals(fs.readFileSync(rig.filename))).toBe(true);
  });
});

describe('what begins within a long WRITE', () => {
  it('if it is a bitmap, has all of the WRITE, and nothing of those that ended', async () => {
    const rig = await directRig();
    expect(await write(rig.client, 2 * MiB, pattern(LONG, 4))).toBe(0);
    expect(recording(rig.node).count).toBe(0);
    rig.node.removeBitmap(rig.node.findBitmap('b')!);
    rig.receive.mockClear();
    await writeBeginning(rig, pattern(64 * KiB, 2));
    rig.client.send(pattern(64 * KiB, 3));
    await expect.poll(() => rig.directBytes()).toBe(128 * KiB);
    const bitmap = recording(rig.node);
    expect(bitmap.count).toBe(128 * KiB);
    // One that is cleared begins anew.
    rig.node.clearBitmap(bitmap);
    expect(bitmap.count).toBe(128 * KiB);
    rig.client.send(pattern(LONG - 128 * KiB, 3));
    expect((await rig.client.reply()).error).toBe(0);
    expect(bitmap.count).toBe(LONG);
  });

  it.each(['full', 'none'] as const)(
    'if it is a mirror (%s), waits for nobody and gets all of it',
    async (sync) => {
      const rig = await directRig();
      await writeBeginning(rig, pattern(128 * KiB, 2));
      const { job, target } = mirror(rig, 'write-blocking', sync);
      await expect.poll(() => job.status).toBe('ready');
      rig.client.send(pattern(LONG - 128 * KiB, 3));
      expect((await rig.client.reply()).error).toBe(0);
      expect(rig.directBytes()).toBe(128 * KiB);
      job.complete();
      await job.ended;
      const there = (disk: Buffer) => disk.subarray(MiB, MiB + LONG);
      expect(there(await contents(target)).equals(there(fs.readFileSync(rig.filename)))).toBe(true);
    },
  );

  it('has its beginning also when the rest has to be waited for', async () => {
    const rig = await directRig();
    await writeBeginning(rig, pattern(128 * KiB, 2));
    let answer: () => void = () => {};
    const write = rig.node.write.bind(rig.node);
    rig.node.write = async (...request) => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      await write(...request);
    };
    rig.receive.mockReturnValue(undefined);
    rig.client.send(pattern(LONG - 128 * KiB, 3));
    await expect.poll(() => rig.export.counters.writes).toBe(2);
    expect(recording(rig.node).count).toBe(128 * KiB);
    answer();
    expect((await rig.client.reply()).error).toBe(0);
  });
});
