import { spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeImage, PROGRAM, runNbdMirror, startNbdMirror } from '../support/nbd-mirror.ts';
import { currentScope, describePeers, nbdUri, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** Nobody takes what is printed: the reader of a pipe has gone, the disk of a log is full. */

/** `serve` with such a stdout and stderr; true once it listens. */
async function serveInto(stdio: ['ignore', 'pipe' | number, 'pipe' | number]) {
  const directory = await tempDir();
  const [disk, socket] = [join(directory, 'disk.raw'), join(directory, 's')];
  await makeImage(disk, 1 << 20);
  const args = ['serve', '-s', disk, '-k', socket, '--log-level', 'debug'];
  const server = spawn(process.execPath, [PROGRAM, ...args], { stdio });
  currentScope().onClose(async () => void server.kill('SIGKILL'));
  server.stdout?.destroy();
  server.stderr?.destroy();
  const ended = new Promise<number | null>((resolve) => server.once('exit', resolve));
  await expect.poll(() => existsSync(socket), { timeout: 20_000 }).toBe(true);
  return { server, ended, socket };
}

describePeers('a server', ['nbdinfo'], () => {
  it.each([
    ['whose readers have gone', 'pipe', 'pipe', 0],
    ['whose log is full', 'pipe', '/dev/full', 0],
    ['whose output is full', '/dev/full', 'pipe', 1],
  ] as const)('%s serves on, and ends as ever', { timeout: 30_000 }, async (_, out, err, code) => {
    const open = (where: string) => (where === 'pipe' ? 'pipe' : openSync(where, 'w'));
    const { server, ended, socket } = await serveInto(['ignore', open(out), open(err)]);
    // Each client is told of in the log.
    for (let n = 0; n < 3; n++) {
      expect(await mustRun('nbdinfo', ['--size', nbdUri(socket)])).toBe(`${1 << 20}\n`);
    }
    server.kill('SIGTERM');
    expect(await ended).toBe(code);
    expect(existsSync(socket)).toBe(false);
  });
});

describe('a command that prints', () => {
  it('ends with its reader, or says that it cannot', { timeout: 30_000 }, async () => {
    const directory = await tempDir();
    const [disk, qmp] = [join(directory, 'disk.raw'), join(directory, 'q')];
    await makeImage(disk, 1 << 20);
    const monitor = ['--qmp', `unix:${qmp}`];
    await startNbdMirror(['serve', '-s', disk, '-k', join(directory, 's'), ...monitor], {
      readySocket: join(directory, 's'),
    });
    const shell = (command: string) => mustRun('bash', ['-c', command, PROGRAM, ...monitor]);
    expect(await shell('"$0" status "$@" 2>&1 >/dev/full | cat')).toBe(
      'nbd-mirror: Cannot write to standard output: ENOSPC: no space left on device, write\n',
    );
    const readsOne = '{ yes query-status | "$0" qmp "$@" 2>&3 | head -1 >/dev/null; } 3>&1';
    expect(await shell(`${readsOne}; echo over`)).toBe('over\n');
    const { code, stderr } = await runNbdMirror(['status', ...monitor]);
    expect([code, stderr]).toEqual([0, '']);
  });
});
