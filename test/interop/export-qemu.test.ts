import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { makeSparseFile, startFileRig } from '../support/file-rig.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { describePeers, tempDir } from '../support/peers.ts';
import { mustRun, run } from '../support/process.ts';

describePeers('QEMU with our export', ['qemu-io', 'qemu-img', 'qemu-nbd'], () => {
  const qemuIo = (uri: string, ...commands: string[]) =>
    mustRun('qemu-io', ['-f', 'raw', uri, ...commands.flatMap((command) => ['-c', command])]);

  it('qemu-io reads back what it wrote, at any alignment', async () => {
    const { uri } = await startFileRig(32 * MiB);
    await qemuIo(
      uri,
      'write -P 0xa1 12345 100001',
      'write -f -P 0xa2 4M 8M',
      'write -z 5M 1M',
      'write -z -u 7M 1M',
      'discard 9M 1M',
      'flush',
    );
    const out = await qemuIo(
      uri,
      'read -P 0xa1 12345 100001',
      'read -P 0xa2 4M 1M',
      'read -P 0 5M 1M',
      'read -P 0xa2 6M 1M',
      'read -P 0 7M 1M',
      'read -P 0xa2 8M 1M',
      'read -P 0xa2 10M 2M',
    );
    expect(out).not.toContain('failed');
  });

  it('qemu-io runs many requests at once', async () => {
    const { uri } = await startFileRig(32 * MiB);
    const writes = Array.from(
      { length: 60 },
      (_, index) => `aio_write -P ${index + 1} ${index * 300}k 299k`,
    );
    const reads = Array.from(
      { length: 60 },
      (_, index) => `read -P ${index + 1} ${index * 300}k 299k`,
    );
    const out = await qemuIo(uri, ...writes, 'aio_flush', ...reads);
    expect(out).not.toContain('failed');
  });

  it('qemu-img converts from it and to it, compares, maps and measures', async () => {
    const { uri, filename } = await startFileRig(24 * MiB);
    const copy = join(await tempDir(), 'copy.qcow2');
    await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, copy]);
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', uri, copy]);
    const other = join(await tempDir(), 'other.raw');
    await makeSparseFile(other, 24 * MiB);
    await mustRun('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', other, uri]);
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', filename, other]);
    const map = (file: string) =>
      mustRun('qemu-img', ['map', '--output=json', '-f', 'raw', file]).then((out) =>
        JSON.parse(out).map(({ start, length, zero }: Record<string, unknown>) => ({
          start,
          length,
          zero,
        })),
      );
    expect(await map(uri)).toEqual(await map(other));
  });

  it('a read-only export refuses to be opened for writing', async () => {
    const { uri } = await startNbdRig({ export: { writable: false } });
    const { code } = await run('qemu-io', ['-f', 'raw', uri, '-c', 'write 0 512']);
    expect(code).not.toBe(0);
    await mustRun('qemu-io', ['-r', '-f', 'raw', uri, '-c', 'read -P 0 0 512']);
  });

  it('qemu-nbd lists exports that are many', async () => {
    const rig = await startNbdRig();
    for (let number = 1; number < 100; number++) {
      const name = `disk${number}`;
      const use = rig.graph.use(rig.node, { kind: 'export', name }, { writable: false });
      rig.server.addExport({ id: name, name, writable: false, use });
    }
    const listed = await mustRun('qemu-nbd', ['-L', '-k', rig.socket]);
    expect(listed).toContain('exports available: 100\n');
    expect(listed.match(/base:allocation/g)).toHaveLength(100);
  });
});
