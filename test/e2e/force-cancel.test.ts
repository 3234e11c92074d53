import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage, startExport } from '../support/nbd-mirror.ts';
import { describePeers, startNbdkit, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** A mirror that is cancelled by force because its target hangs. */
const KiB = 1 << 10;
const MiB = 1 << 20;
const SIZE = 4 * MiB;
const PART = 64 * KiB;

describePeers('a target that hangs', ['nbdkit', 'qemu-io'], () => {
  it('is let go of, also where most of a granule has not been sent', async () => {
    const source = join(await tempDir(), 'source.raw');
    await makeImage(source, SIZE);
    const target = await startNbdkit([
      '--threads=64',
      '--filter=delay',
      'memory',
      String(SIZE),
      'wdelay=3600',
    ]);
    const { qmp, uri } = await startExport(source, [
      '--blockdev',
      `driver=nbd,node-name=target,server.type=unix,server.path=${target.socket}`,
    ]);
    await qmp.execute('block-dirty-bitmap-add', { node: 'source', name: 'b', granularity: SIZE });
    // Twice as many parts as are sent at a time.
    const writes = Array.from({ length: SIZE / PART / 2 }, (_, i) => `write ${2 * i * PART} 64k`);
    await mustRun('qemu-io', ['-f', 'raw', ...writes.flatMap((write) => ['-c', write]), uri]);
    await qmp.execute('blockdev-mirror', {
      'job-id': 'm',
      device: 'source',
      target: 'target',
      sync: 'full',
      bitmap: 'b',
    });
    const bitmaps = async () => {
      const nodes = await qmp.execute('query-named-block-nodes');
      return nodes.find((info) => info['node-name'] === 'source')?.['dirty-bitmaps'];
    };
    // What is being copied is no longer dirty, but not on the target either.
    await expect.poll(bitmaps).toMatchObject([{ name: 'b', count: 0 }]);
    expect(await qmp.execute('query-block-jobs')).toMatchObject([{ 'x-dirty-bytes': SIZE }]);
    await qmp.execute('block-job-cancel', { device: 'm', force: true });
    await qmp.event('BLOCK_JOB_CANCELLED');
    expect(await bitmaps()).toMatchObject([{ name: 'b', count: SIZE, busy: false }]);
  });
});
