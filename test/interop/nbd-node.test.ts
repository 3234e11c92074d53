import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { KiB, MiB } from '../../src/util/limits.ts';
import { openNbdNode } from '../support/open-nbd-node.ts';
import {
  describePeers,
  startNbdkit,
  startProcess,
  startQemuNbd,
  startQsd,
  tempDir,
} from '../support/peers.ts';

const pattern = (bytes: number) => Buffer.alloc(bytes, 'What is written is what is read. ');

async function diskFile(size: number): Promise<string> {
  const file = join(await tempDir(), 'disk.img');
  await writeFile(file, '');
  await truncate(file, size);
  return file;
}

describePeers('the nbd node over qemu-nbd', ['qemu-nbd'], () => {
  it('writes what ends up in the file', async () => {
    const file = await diskFile(8 * MiB);
    const { socket } = await startQemuNbd({ file, exportName: 'the disk / ü' });
    const node = await openNbdNode(socket, { exportName: 'the disk / ü' });
    const data = pattern(3 * MiB + 77);
    await node.write(12_345, data);
    await node.flush();
    const content = await readFile(file);
    expect(content.subarray(12_345, 12_345 + data.length).equals(data)).toBe(true);
  });

  it('says which export there is not', async () => {
    const { socket } = await startQemuNbd({ file: await diskFile(MiB), exportName: 'a' });
    await expect(openNbdNode(socket, { exportName: 'b' })).rejects.toThrow(
      /Cannot open node "target": .* refuses export "b": .*b/,
    );
  });
});

describePeers('the nbd node over nbdkit', ['nbdkit'], () => {
  it('says that the server wants TLS', async () => {
    const keys = join(await tempDir(), 'keys.psk');
    await writeFile(keys, `alice:${'00'.repeat(32)}\n`);
    const { socket } = await startNbdkit(['--tls=require', `--tls-psk=${keys}`, 'memory', '1M']);
    await expect(openNbdNode(socket)).rejects.toThrow(/requires TLS, which is not supported/);
  });

  it('keeps to a minimum of 4096 and a maximum of 64 KiB', async () => {
    const { socket } = await startNbdkit([
      '--filter=blocksize-policy',
      'memory',
      '8M',
      'blocksize-minimum=4096',
      'blocksize-maximum=64K',
      'blocksize-error-policy=error',
    ]);
    const node = await openNbdNode(socket);
    expect(node.limits).toMatchObject({ requestAlignment: 4096, transferBytesMax: 64 * KiB });
    const data = pattern(MiB + 1234);
    await Promise.all([node.write(777, data), node.write(5 * MiB + 1, data)]);
    await node.writeZeroes(MiB - 5, 3);
    data.fill(0, MiB - 5 - 777, MiB - 2 - 777);
    const back = Buffer.alloc(data.length);
    await node.read(777, back);
    expect(back.equals(data)).toBe(true);
  });

  it.each([
    ['EIO', 'EIO'],
    ['ENOSPC', 'ENOSPC'],
    ['EPERM', 'EPERM'],
  ])('passes the error %s on, and stays connected', async (error, code) => {
    const { socket } = await startNbdkit([
      '--filter=error',
      'memory',
      '1M',
      `error-pwrite=${error}`,
      'error-pwrite-rate=1',
    ]);
    const node = await openNbdNode(socket);
    await expect(node.write(4096, Buffer.alloc(512))).rejects.toMatchObject({
      name: 'BlockError',
      code,
      message: expect.stringContaining('Cannot write 512 bytes at 4096 on node "target"'),
    });
    await node.read(0, Buffer.alloc(512));
  });

  it('has many requests in flight on a slow server', async () => {
    const { socket } = await startNbdkit(['--filter=delay', 'memory', '1M', 'rdelay=200ms']);
    const node = await openNbdNode(socket);
    const start = performance.now();
    const reads = Array.from({ length: 10 }, () => node.read(0, Buffer.alloc(512)));
    await Promise.all(reads);
    // One after the other would take ten times the delay.
    expect(performance.now() - start).toBeLessThan(5 * 200);
  });

  it('refuses a disk of 2^53 bytes and more, and reads the end of a smaller one', async () => {
    const { socket } = await startNbdkit(['memory', '8P']);
    await expect(openNbdNode(socket)).rejects.toThrow(/larger than 2\^53/);
    const other = await startNbdkit(['memory', '7P']);
    const node = await openNbdNode(other.socket);
    const data = pattern(4096);
    await node.write(node.size - 4096, data);
    const back = Buffer.alloc(4096);
    await node.read(node.size - 4096, back);
    expect(back.equals(data)).toBe(true);
  });
});

describePeers('the nbd node over qemu-storage-daemon', ['qemu-storage-daemon'], () => {
  it('sees holes and data as it does', async () => {
    const file = await diskFile(4 * MiB);
    const socket = join(await tempDir(), 'nbd.sock');
    await startQsd([
      '--blockdev',
      `file,node-name=disk0,filename=${file},discard=unmap`,
      '--nbd-server',
      `addr.type=unix,addr.path=${socket}`,
      '--export',
      'nbd,id=e,node-name=disk0,writable=on',
    ]);
    const node = await openNbdNode(socket, { exportName: 'disk0' });
    await node.write(MiB, pattern(MiB));
    expect(await node.blockStatus(0, 4 * MiB, 10)).toEqual([
      { offset: 0, length: MiB, hole: true, zero: true },
      { offset: MiB, length: MiB, hole: false, zero: false },
      { offset: 2 * MiB, length: 2 * MiB, hole: true, zero: true },
    ]);
  });
});

describePeers('an nbd node that loses its server', ['nbdkit'], () => {
  /** nbdkit on a socket of ours, so that a second one can take its place. */
  async function serve(socket: string, file: string) {
    return startProcess('nbdkit', ['-f', '-U', socket, 'file', file], { readySocket: socket });
  }

  it('goes on with the next one', async () => {
    const socket = join(await tempDir(), 'nbd.sock');
    const file = await diskFile(MiB);
    const first = await serve(socket, file);
    const node = await openNbdNode(socket, { reconnectDelaySeconds: 30 });
    let returns = 0;
    node.watchReconnects(() => returns++);
    await node.write(0, pattern(4096));
    first.signal('SIGKILL');
    await first.exited;
    const writing = node.write(4096, pattern(4096));
    await rm(socket);
    await serve(socket, file);
    await writing;
    expect(returns).toBe(1);
    expect((await readFile(file)).subarray(4096, 8192).equals(pattern(4096))).toBe(true);
  });

  it('does not wait for one that is stopped once requests are cancelled', async () => {
    const { process, socket } = await startNbdkit(['memory', '64M']);
    const node = await openNbdNode(socket, { reconnectDelaySeconds: 30 });
    process.signal('SIGSTOP');
    const requests = [
      node.read(0, Buffer.alloc(512)),
      node.write(0, Buffer.alloc(16 * MiB)),
      node.flush(),
    ];
    node.cancelInFlight();
    for (const one of await Promise.allSettled(requests)) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'ECANCELED' } });
    }
    process.signal('SIGCONT');
    await node.flush();
  });
});
