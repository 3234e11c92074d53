import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage, runNbdMirror, startNbdMirror } from '../support/nbd-mirror.ts';
import { describePeers, startNbdkit, tempDir } from '../support/peers.ts';

const MiB = 1 << 20;
/** A disk that has no room. */
const FULL = ['--filter=error', 'memory', '8M', 'error-pwrite=ENOSPC', 'error-pwrite-rate=1'];

describePeers('a target without room', ['nbdkit'], () => {
  it('is what status shows of a mirror, until somebody has seen it', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), 8 * MiB, randomBytes(8 * MiB));
    const { uri } = await startNbdkit(FULL);
    const monitor = ['--qmp', `unix:${path('qmp.sock')}`];
    const serve = ['serve', '-s', path('disk.raw'), '-t', uri, '-k', path('disk.sock'), ...monitor];
    const server = await startNbdMirror(serve, { readyLine: /disk\.sock/ });
    const status = async () => (await runNbdMirror(['status', ...monitor])).stdout;
    await expect
      .poll(status)
      .toMatch(/mirror mirror0 .* concluded.*\n {2}failed: No space left on device: Cannot write/);
    const waiting = await runNbdMirror(['status', ...monitor, '--is', 'ready']);
    expect(waiting).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^nbd-mirror: mirror0 has failed: No space left on device: Cannot write .* node "target0"/,
      ),
    });
    // Nor does Node's debugger let anybody in.
    server.signal('SIGUSR1');
    expect((await runNbdMirror(['qmp', ...monitor, 'job-dismiss', 'id=mirror0'])).code).toBe(0);
    expect(await status()).not.toContain('mirror0');
    expect(server.stderr).not.toContain('Debugger');
  });

  it('is what copy says', async () => {
    const source = join(await tempDir(), 'disk.raw');
    await makeImage(source, 8 * MiB, randomBytes(8 * MiB));
    const { uri } = await startNbdkit(FULL);
    const { code, stderr } = await runNbdMirror([
      'copy',
      '-q',
      '--log-level',
      'silent',
      source,
      uri,
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^nbd-mirror: Cannot copy .*: Cannot write .* on node "target": .* answered NBD_ENOSPC.*\n$/,
    );
  });
});

describePeers('a source that cannot be read', ['nbdkit'], () => {
  it('is what copy says, and that it took away what it had made', async () => {
    const target = join(await tempDir(), 'new.raw');
    const failing = ['error-pread=EIO', 'error-pread-rate=1'];
    const { uri } = await startNbdkit(['--filter=error', 'pattern', '8M', ...failing]);
    const words = ['copy', '-q', '--log-level', 'silent', uri, target];
    const { code, stderr } = await runNbdMirror(words);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^nbd-mirror: Cannot copy .* on node "source": .*; \/.*\/new\.raw is removed again\n$/,
    );
    expect(existsSync(target)).toBe(false);
  });
});
