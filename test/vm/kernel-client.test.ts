import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectQmp, makeImage, startNbdMirror } from '../support/nbd-mirror.ts';
import { currentScope, describePeers, startQemuNbd, tempDir } from '../support/peers.ts';
import { freePort, mustRun, run } from '../support/process.ts';
import { findKernel, MACHINE_TOOLS, runMachine } from './machine.ts';

/**
 * The client that most users have is the Linux kernel's own. A machine with nothing but Debian's
 * kernel and nbd-client makes a file system on our export and works in it while the disk is being
 * mirrored; the target must then hold a clean file system with the very same files.
 */
const DISK_BYTES = 192 * 1024 * 1024;
const OLD_DATA = Buffer.alloc(8 * 1024 * 1024, 'old data under the new file system ');

const kernel = findKernel();
if (kernel === undefined) {
  describe.skip("the kernel's client [missing: linux-image-amd64 in .cache/vm]", () => {
    it('finds its kernel', () => {});
  });
} else {
  describePeers("the kernel's client", [...MACHINE_TOOLS, 'qemu-nbd', 'e2fsck', 'debugfs'], () => {
    it.each(['background', 'write-blocking'])('uses a disk mirrored in %s mode', async (mode) => {
      const directory = await tempDir();
      const source = join(directory, 'source.raw');
      const target = join(directory, 'target.raw');
      await makeImage(source, DISK_BYTES, OLD_DATA);
      await makeImage(target, DISK_BYTES);

      const peer = await startQemuNbd({ file: target, args: ['--discard=unmap'] });
      const port = await freePort();
      const qmpPath = join(directory, 'qmp.sock');
      const server = await startNbdMirror(
        ['serve', '--source', source, '--target', peer.uri, '--copy-mode', mode].concat(
          '--discard',
          'unmap',
          '--port',
          String(port),
          '--qmp',
          `unix:${qmpPath}`,
        ),
        { readyPort: port },
      );
      const qmp = await connectQmp(qmpPath);

      const console = await runMachine(currentScope(), kernel, port);
      await completeMirror(qmp);
      expect(await server.stop()).toBe(0);
      await peer.process.stop();

      const sums = sumsOnConsole(console);
      expect(sums.size).toBeGreaterThan(10);
      await mustRun('e2fsck', ['-fn', target]);
      expect(await sumsOnDisk(target, directory)).toEqual(sums);
      expect(await run('cmp', [source, target])).toMatchObject({ code: 0 });
    });
  });
}

/** Waits until source and target are the same, and ends the job at that point. */
async function completeMirror(qmp: Awaited<ReturnType<typeof connectQmp>>): Promise<void> {
  const job = (await qmp.execute('query-block-jobs'))[0]!;
  if (!job.ready) await qmp.event('BLOCK_JOB_READY');
  await qmp.execute('block-job-cancel', { device: job.device });
  const { data } = await qmp.event('BLOCK_JOB_COMPLETED', { device: job.device });
  expect(data).not.toHaveProperty('error');
}

/** File name -> SHA-256, as the guest printed them. */
function sumsOnConsole(text: string): Map<string, string> {
  const lines = text.matchAll(/VM-SUM: ([0-9a-f]{64}) {2}(\S+)/g);
  return new Map([...lines].map((match) => [match[2]!, match[1]!]));
}

/** The same, read from the file system in an image without mounting it. */
async function sumsOnDisk(image: string, directory: string): Promise<Map<string, string>> {
  const dumped = join(directory, 'dumped');
  await mkdir(dumped);
  await mustRun('debugfs', ['-R', `rdump / ${dumped}`, image]);
  const files = readdirSync(dumped, { withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map(({ name }) => {
      const content = readFileSync(join(dumped, name));
      return [name, createHash('sha256').update(content).digest('hex')];
    }),
  );
}
