import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { open } from 'node:fs/promises';
import { describe, expect, it, vi } from 'vitest';
import { NBD_CMD_READ } from '../../../protocol/nbd/constants.ts';
import type { FileBytes } from '../../../src/util/file-bytes.ts';
import { KiB, MiB } from '../../../src/util/limits.ts';
import { openFileNode } from '../../conformance/make-file-node.ts';
import { startFileRig } from '../../support/file-rig.ts';
import { tempDir } from '../../support/peers.ts';
import { mustRun, pause } from '../../support/process.ts';
import type { RawNbdClient } from '../../support/raw-nbd-client.ts';

const SIZE = 16 * MiB;
const DATA = randomBytes(SIZE);
/** A block of zeroes is no reason to read it into memory. */
DATA.fill(0, 64 * KiB, 128 * KiB);

/** An export of a file that the page cache has, and what was sent from there. */
async function cachedRig() {
  const rig = await startFileRig(SIZE);
  fs.writeFileSync(rig.filename, DATA);
  const offered: FileBytes[] = [];
  const { node } = rig;
  const fileBytes = node.fileBytes.bind(node);
  vi.spyOn(node, 'fileBytes').mockImplementation((...range) => {
    const bytes = fileBytes(...range);
    if (bytes === undefined) return undefined;
    vi.spyOn(bytes, 'end');
    offered.push(bytes);
    return bytes;
  });
  const intoMemory = vi.spyOn(node, 'read');
  return { ...rig, offered, intoMemory };
}

function ask(client: RawNbdClient, offset: number, length: number): void {
  client.request({ type: NBD_CMD_READ, offset, length, cookieLow: offset / KiB });
}

/** A client that takes nothing of what it asks for. */
async function slowClient({ connect }: Awaited<ReturnType<typeof cachedRig>>, reads = 4) {
  const client = await connect();
  await client.go();
  client.socket.pause();
  for (let at = 0; at < reads; at++) ask(client, at * 4 * MiB, 4 * MiB);
  return client;
}

describe('a long READ of what the page cache has', () => {
  it.each([
    ['simple replies', 'connect', false],
    ['structured replies', 'connect', true],
    ['simple replies over TCP', 'connectTcp', false],
  ] as const)('goes from the file to the socket, with %s', async (_, way, structured) => {
    const rig = await cachedRig();
    const client = await rig[way]();
    await client.go({ structured });
    for (const [offset, length] of [
      [0, MiB],
      [12_345, 3 * MiB + 17],
      [SIZE - 4 * MiB, 4 * MiB],
    ] as const) {
      ask(client, offset, length);
      const { error, chunks } = await client.reply(length);
      expect(error).toBe(0);
      const data = structured ? chunks[0]!.payload.subarray(8) : chunks[0]!.payload;
      expect(data.equals(DATA.subarray(offset, offset + length))).toBe(true);
    }
    expect(rig.intoMemory).not.toHaveBeenCalled();
    for (const { end } of rig.offered) await expect.poll(() => end).toHaveBeenCalledOnce();
    const readBytes = 8 * MiB + 17;
    expect(rig.export.counters).toMatchObject({ reads: 3, readBytes, errors: 0 });
    const [served] = rig.export.clients;
    expect(served!.bytesSent).toBeGreaterThan(readBytes);
    expect(served!.bytesSent).toBeLessThan(readBytes + KiB);
  });

  it('is copied when it is not worth it, or too long for it', async () => {
    const { connect, offered, intoMemory } = await cachedRig();
    const client = await connect();
    await client.go();
    for (const length of [60 * KiB, 8 * MiB]) {
      ask(client, 0, length);
      const { chunks } = await client.reply(length);
      expect(chunks[0]!.payload.equals(DATA.subarray(0, length))).toBe(true);
    }
    expect(offered).toHaveLength(0);
    expect(intoMemory).toHaveBeenCalledTimes(2);
  });

  it('comes whole to a client that is slow', async () => {
    const rig = await cachedRig();
    const client = await slowClient(rig);
    await expect.poll(() => rig.offered.length).toBeGreaterThan(1);
    client.socket.resume();
    for (let more = 0; more < 4; more++) {
      const { cookie, chunks } = await client.reply(4 * MiB);
      const offset = cookie * KiB;
      expect(chunks[0]!.payload.equals(DATA.subarray(offset, offset + 4 * MiB))).toBe(true);
    }
  });

  it('holds no more for a client that takes nothing than other replies do', async () => {
    const rig = await cachedRig();
    await slowClient(rig, 4);
    await expect.poll(() => rig.offered.length).toBe(2);
    // CLIENT_UNSENT_BYTES_MAX, and the one that goes beyond it.
    await pause(50);
    expect(rig.offered.length).toBeLessThanOrEqual(3);
  });

  it('keeps nobody from stopping the server', async () => {
    const rig = await cachedRig();
    await slowClient(rig);
    await expect.poll(() => rig.offered.length).toBeGreaterThan(0);
    await rig.server.stop();
    for (const { end } of rig.offered) await expect.poll(() => end).toHaveBeenCalledOnce();
  });

  it('cuts a client to which the rest of a reply cannot be sent any more', async () => {
    const rig = await cachedRig();
    const client = await slowClient(rig, 1);
    await expect.poll(() => rig.offered.length).toBe(1);
    fs.truncateSync(rig.filename, 0);
    client.socket.resume();
    // Not zeroes in place of the data.
    expect((await client.untilEnd()).length).toBeLessThan(4 * MiB);
    await expect.poll(() => rig.export.counters.errors).toBe(1);
  });
});

/** Descriptors of ours that are open for the file. */
function descriptorsOf(filename: string): number {
  const names = fs.readdirSync('/proc/self/fd').map((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return undefined;
    }
  });
  return names.filter((name) => name === filename).length;
}

describe('a file whose node is closed', () => {
  it('stays open for bytes that a client has not taken yet', async () => {
    const filename = `${await tempDir()}/disk.raw`;
    fs.writeFileSync(filename, DATA);
    const node = await openFileNode(filename, false);
    const bytes = node.fileBytes(0, MiB, false)!;
    await node.close();
    // Nor is it locked any more.
    await (await openFileNode(filename, false)).close();
    const copy = Buffer.alloc(MiB);
    await bytes.read(0, copy);
    expect(copy.equals(DATA.subarray(0, MiB))).toBe(true);
    expect(descriptorsOf(filename)).toBe(1);
    bytes.end();
    expect(descriptorsOf(filename)).toBe(0);
  });

  it('stays open for reads that have not begun yet', async () => {
    const directory = await tempDir();
    const filename = `${directory}/disk.raw`;
    fs.writeFileSync(filename, DATA);
    const node = await openFileNode(filename, true);
    // Whoever opens a pipe waits for the other end: nothing else goes on in the pool.
    const pipes = [0, 1, 2, 3].map((number) => `${directory}/pipe${number}`);
    for (const pipe of pipes) await mustRun('mkfifo', [pipe]);
    const opened = pipes.map((pipe) => open(pipe));
    const copy = Buffer.alloc(2 * MiB);
    const read = node.read(0, copy);
    await node.close();
    for (const pipe of pipes) fs.closeSync(fs.openSync(pipe, 'w'));
    await read;
    expect(copy.equals(DATA.subarray(0, copy.length))).toBe(true);
    expect(descriptorsOf(filename)).toBe(0);
    for (const pipe of opened) await (await pipe).close();
  });
});
