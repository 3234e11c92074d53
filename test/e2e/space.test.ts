import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage, startNbdMirror } from '../support/nbd-mirror.ts';
import { describePeers, nbdUri, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** What `serve` makes of a client's TRIM and zeroes, on whatever it serves. */
const MiB = 1 << 20;

describePeers('serve gives space back', ['qemu-io'], () => {
  it.each([
    ['of a file', [], false, 1],
    ['of a window', ['--offset', '1M', '--size', '2M'], false, 1],
    ['of a server', [], true, 1],
    ['of a window on a server', ['--offset', '1M', '--size', '2M'], true, 1],
    ['of a server, for zeroes', ['--detect-zeroes', 'unmap'], true, 2],
    ['not of a window, with --discard ignore', ['--size', '3M', '--discard', 'ignore'], false, 0],
    ['not of a server, with --discard ignore', ['--discard', 'ignore'], true, 0],
  ])('%s', async (_what, options, isElsewhere, givenBack) => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), 4 * MiB, randomBytes(4 * MiB));
    if (isElsewhere) {
      const receive = ['receive', path('disk.raw'), '-k', path('disk.sock')];
      await startNbdMirror(receive, { readySocket: path('disk.sock') });
    }
    const source = isElsewhere ? nbdUri(path('disk.sock')) : path('disk.raw');
    const serve = ['serve', '-s', source, '-k', path('sock'), ...options];
    await startNbdMirror(serve, { readySocket: path('sock') });
    const requests = ['discard 0 1M', 'write -P 0 1M 1M', 'flush'];
    const script = requests.flatMap((request) => ['-c', request]);
    const uri = nbdUri(path('sock'));
    await mustRun('qemu-io', ['-f', 'raw', '-d', 'unmap', ...script, uri]);
    // In whole MiB: what is left over is the file system's own, a map of the file's extents.
    const left = Math.floor((statSync(path('disk.raw')).blocks * 512) / MiB);
    expect(4 - left).toBe(givenBack);
    const trimmed = readFileSync(path('disk.raw')).subarray(options.includes('--offset') ? MiB : 0);
    expect(trimmed.subarray(0, MiB).equals(Buffer.alloc(MiB))).toBe(givenBack > 0);
  });
});
