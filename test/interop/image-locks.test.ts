import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { openFileNode } from '../conformance/make-file-node.ts';
import { makeSparseFile } from '../support/file-rig.ts';
import { libc } from '../support/libc.ts';
import { attachLoop, lackForLoopDevice } from '../support/loop-device.ts';
import {
  currentScope,
  describePeers,
  type NbdPeer,
  startQemuNbd,
  tempDir,
} from '../support/peers.ts';
import { mustRun, run } from '../support/process.ts';

async function makeFile(): Promise<string> {
  const file = join(await tempDir(), 'disk.raw');
  await makeSparseFile(file, MiB);
  return file;
}

/** It listens before it opens its file. */
async function serveByQemu(file: string, readOnly = false): Promise<NbdPeer> {
  const peer = await startQemuNbd({ file, readOnly });
  await mustRun('qemu-img', ['info', '-f', 'raw', peer.uri]);
  return peer;
}

/** A file that QEMU and we have open at the same time. */
describePeers('QEMU with our files', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  const write = (file: string) => run('qemu-io', ['-f', 'raw', '-c', 'write 0 64k', file]);
  const read = (file: string) =>
    mustRun('qemu-img', ['convert', '-O', 'raw', file, `${file}.copy`]);

  it('does not write to what we write to, and reads it', async () => {
    const file = await makeFile();
    const node = await openFileNode(file, false);
    expect((await write(file)).stderr).toContain('Failed to get "write" lock');
    await read(file);
    node.setReadOnly(true);
    const { process } = await serveByQemu(file);
    expect(() => node.setReadOnly(false)).toThrow('Failed to get "write" lock');
    await process.stop();
    // Still a reader, though it was refused.
    await expect(openFileNode(file, false)).rejects.toThrow('Failed to get "write" lock');
    node.setReadOnly(false);
    expect((await write(file)).code).not.toBe(0);
    await node.close();
    expect((await write(file)).code).toBe(0);
  });

  it('is not written behind the back of, and may be read', async () => {
    const file = await makeFile();
    const { process } = await serveByQemu(file);
    await expect(openFileNode(file, false)).rejects.toThrow('Failed to get "write" lock');
    const reader = await openFileNode(file, true);
    expect(() => reader.setReadOnly(false)).toThrow('Failed to get "write" lock');
    await process.stop();
    reader.setReadOnly(false);
    // Still locked, though it was refused once.
    await expect(openFileNode(file, true)).rejects.toThrow('Failed to get shared "write" lock');
    await reader.close();
  });

  it('may forbid us to write', async () => {
    const file = await makeFile();
    const fd = openSync(file, 'r');
    const [lock, lockType, byte] = [Buffer.alloc(32), 0, 201];
    lock.writeInt16LE(lockType, 0);
    lock.writeBigInt64LE(BigInt(byte), 8);
    lock.writeBigInt64LE(1n, 16);
    const F_OFD_SETLK = 37;
    const fcntl = libc.func('int fcntl(int fd, int command, void *argument)');
    expect(fcntl(fd, F_OFD_SETLK, lock)).toBe(0);
    await expect(openFileNode(file, false)).rejects.toThrow('Failed to get "write" lock');
    closeSync(fd);
    await (await openFileNode(file, false)).close();
  });

  it('is in nobody’s way where it only reads', async () => {
    const file = await makeFile();
    await serveByQemu(file, true);
    await (await openFileNode(file, false)).close();
  });
});

const lack = lackForLoopDevice();

it.skipIf(lack !== undefined)(
  `a device has one writer${lack ? ` [missing: ${lack}]` : ''}`,
  async () => {
    const file = await makeFile();
    const device = attachLoop(currentScope(), file).path;
    const node = await openFileNode(device, false);
    await expect(openFileNode(device, false)).rejects.toThrow(
      `Could not open "${device}": it is mounted, or somebody else writes to it`,
    );
    await node.close();
    await (await openFileNode(device, false)).close();
  },
);
