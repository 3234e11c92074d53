import { expect, it } from 'vitest';
import { MemoryNode } from '../../src/block/memory-node.ts';
import { MiB } from '../../src/util/limits.ts';
import { startFileRig } from '../support/file-rig.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { describePeers, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { ShakyNode } from '../support/shaky-node.ts';

/** Writes every block of the disk once, in random order, and reads all of it back. */
async function fioVerify(uri: string, size: number, blockSize: string): Promise<void> {
  const job = {
    name: 'verify',
    ioengine: 'nbd',
    uri,
    rw: 'randwrite',
    bs: blockSize,
    iodepth: 16,
    size,
    verify: 'crc32c',
    verify_fatal: 1,
  };
  const options = Object.entries(job).map(([name, value]) => `--${name}=${value}`);
  const out = await mustRun('fio', [...options, '--output-format=json'], { cwd: await tempDir() });
  const [result] = JSON.parse(out.slice(out.indexOf('{'))).jobs;
  expect(result.error).toBe(0);
  expect(result.read.io_bytes).toBe(size);
}

describePeers('fio with our export', ['fio'], () => {
  it.each(['4k', '3k', '64k', '1m'])('verifies %s blocks on a file', async (blockSize) => {
    const size = 48 * MiB;
    const { uri } = await startFileRig(size);
    await fioVerify(uri, size, blockSize);
  });

  it.each(['4k', '64k'])('verifies %s blocks on a disk that takes its time', async (blockSize) => {
    const size = 12 * MiB;
    const node = new ShakyNode(new MemoryNode('disk', { size }));
    let count = 0;
    node.meddle = () =>
      count++ % 3 === 0 ? undefined : new Promise((resolve) => setTimeout(resolve, count % 4));
    const { uri } = await startNbdRig({ node });
    await fioVerify(uri, size, blockSize);
  });
});
