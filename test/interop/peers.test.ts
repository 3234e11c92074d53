import { existsSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  describePeers,
  startNbdkit,
  startNbdServer,
  startProcess,
  startQemuNbd,
  startQsd,
  tempDir,
} from '../support/peers.ts';
import { isListening, mustRun, run } from '../support/process.ts';
import { missingPackages } from '../support/tools.ts';

describe('the peers of our tests', () => {
  let left = '';

  it('live in a directory', async () => {
    left = await tempDir();
    await writeFile(join(left, 'file'), 'x');
    expect(existsSync(left)).toBe(true);
  });

  it('leave nothing behind when the test has ended', () => {
    expect(existsSync(left)).toBe(false);
  });

  it('are named by package when they are missing', () => {
    expect(missingPackages(['node', 'no-such-program'])).toEqual(['no-such-program']);
  });

  it('are quoted when they fail to start', async () => {
    const script = ['-e', 'console.error("out of luck"); process.exit(3)'];
    const starting = startProcess('node', script, { readySocket: '/nowhere' });
    await expect(starting).rejects.toThrow(/ended before \/nowhere \(3\)[\s\S]*out of luck/);
  });

  it('give exit code and both outputs', async () => {
    const script = 'process.stdin.pipe(process.stdout); console.error("e"); process.exitCode = 2';
    const result = await run('node', ['-e', script], { input: 'in' });
    expect(result).toEqual({ code: 2, stdout: 'in', stderr: 'e\n' });
  });
});

describe('a process of a test', () => {
  let pid = 0;

  it('is started', async () => {
    pid = (await startProcess('node', ['-e', 'setInterval(() => {}, 1000)'])).pid;
    expect(existsSync(`/proc/${pid}`)).toBe(true);
  });

  it('is gone in the next', () => {
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  });

  afterAll(() => expect(pid).toBeGreaterThan(0));
});

const PROGRAMS = ['qemu-nbd', 'nbdkit', 'nbd-server', 'qemu-storage-daemon', 'nbdinfo'];

describePeers('servers of others', PROGRAMS, () => {
  async function disk(): Promise<string> {
    const file = join(await tempDir(), 'disk.raw');
    await writeFile(file, '');
    await truncate(file, 1024 * 1024);
    return file;
  }

  it.each([
    ['qemu-nbd', async () => startQemuNbd({ file: await disk(), exportName: 'a b' })],
    ['nbdkit', () => startNbdkit(['memory', '1M'])],
    ['nbd-server', async () => startNbdServer({ file: await disk() })],
  ])('%s is reached by its URI', async (_name, start) => {
    const { uri } = await start();
    expect((await mustRun('nbdinfo', ['--size', uri])).trim()).toBe('1048576');
  });

  it('qemu-storage-daemon listens on its monitor', async () => {
    const { qmp } = await startQsd([]);
    expect(isListening(qmp)).toBe(true);
  });
});
