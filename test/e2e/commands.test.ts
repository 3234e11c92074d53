import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectQmp, makeImage, runNbdMirror, startNbdMirror } from '../support/nbd-mirror.ts';
import { tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** Our commands with each other, as a user types them. */
const MiB = 1 << 20;

describe('copy', () => {
  it('makes an equal, sparse file', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'new.raw')];
    const data = randomBytes(3 * MiB);
    await makeImage(source, 256 * MiB, data);
    const { code, stdout, stderr } = await runNbdMirror(['copy', source, target]);
    expect([code, stdout, stderr]).toEqual([0, '', '']);
    const copy = readFileSync(target);
    expect(copy).toHaveLength(256 * MiB);
    expect(copy.subarray(0, data.length).equals(data)).toBe(true);
    expect(copy.subarray(data.length).equals(Buffer.alloc(256 * MiB - data.length))).toBe(true);
    expect(statSync(target).blocks * 512).toBeLessThan(8 * MiB);
  });

  it('overwrites what a target has, and leaves what is behind the source alone', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'old.raw')];
    await makeImage(source, 2 * MiB, randomBytes(MiB));
    const old = randomBytes(3 * MiB);
    await makeImage(target, 3 * MiB, old);
    expect((await runNbdMirror(['copy', source, target])).code).toBe(0);
    const copy = readFileSync(target);
    expect(copy.subarray(0, 2 * MiB).equals(readFileSync(source))).toBe(true);
    expect(copy.subarray(2 * MiB).equals(old.subarray(2 * MiB))).toBe(true);
    expect(statSync(target).blocks * 512).toBeLessThan(3 * MiB);
  });

  it('shows progress when asked', async () => {
    const directory = await tempDir();
    const source = join(directory, 'disk.raw');
    await makeImage(source, 2 * MiB, randomBytes(2 * MiB));
    const target = join(directory, 'new.raw');
    const { stderr } = await runNbdMirror(['copy', '--progress', source, target]);
    expect(stderr).toMatch(
      /copy: transferred 2\.00 MiB of 2\.00 MiB \(100\.00%\) in \d+s, completed/,
    );
  });
});

describe('serve with a target', () => {
  it('mirrors to a receive, tells its state, and ends with 0 on SIGTERM', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), 8 * MiB, randomBytes(MiB));
    const receive = ['receive', path('copy.raw'), '--size', '8M', '-k', path('copy.sock')];
    const receiver = await startNbdMirror(receive, { readySocket: path('copy.sock') });
    const server = await startNbdMirror(
      [
        'serve',
        '-s',
        path('disk.raw'),
        '-t',
        `nbd+unix:///?socket=${path('copy.sock')}`,
        '-k',
        path('disk.sock'),
        '--copy-mode',
        'write-blocking',
        '--qmp',
        `unix:${path('qmp.sock')}`,
        '--pid-file',
        path('pid'),
      ],
      { readySocket: path('disk.sock') },
    );
    const qmp = `unix:${path('qmp.sock')}`;
    const is = async (state: string) =>
      (await runNbdMirror(['status', '--qmp', qmp, '--is', state])).code;
    await expect.poll(() => is('synced'), { timeout: 20_000 }).toBe(0);
    expect(readFileSync(path('pid'), 'utf8')).toBe(`${server.pid}\n`);
    const { stdout } = await runNbdMirror(['status', '--qmp', qmp]);
    expect(stdout).toMatch(/^export export0: node mirror-top0 \(\/.*\/disk\.raw\), 0 clients, /);
    expect(stdout).toMatch(/\nmirror mirror0 to target0 \(nbd\+unix:.*\): ready, write-bl.*, act/);
    expect(readFileSync(path('copy.raw')).equals(readFileSync(path('disk.raw')))).toBe(true);

    const answer = await runNbdMirror(['qmp', '--qmp', qmp, 'job-pause', 'id=mirror0']);
    expect(answer.stdout).toBe('{}\n');
    expect(await is('ready')).toBe(2);
    const both = await runNbdMirror(['status', '--qmp', qmp, '--is', 'ready', '--json']);
    expect([both.code, JSON.parse(both.stdout)]).toMatchObject([2, { jobs: [{ paused: true }] }]);
    await runNbdMirror(['qmp', '--qmp', qmp, 'job-resume', 'id=mirror0']);
    expect(await is('ready')).toBe(0);
    const wrong = await runNbdMirror(['qmp', '--qmp', qmp, 'job-pause', 'id=nope']);
    expect([wrong.code, wrong.stderr]).toEqual([1, 'nbd-mirror: job-pause: Job not found\n']);

    process.kill(server.pid, 'SIGTERM');
    expect(await server.exited).toBe(0);
    expect(existsSync(path('pid'))).toBe(false);
    expect(existsSync(path('disk.sock'))).toBe(false);
    expect(existsSync(path('qmp.sock'))).toBe(false);
    process.kill(receiver.pid, 'SIGTERM');
    expect(await receiver.exited).toBe(0);
    expect(existsSync(path('copy.sock'))).toBe(false);
  });

  it('says where the disk is when it was completed', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), MiB, randomBytes(MiB));
    const receive = ['receive', path('copy.raw'), '--size', '1M', '-k', path('copy.sock')];
    await startNbdMirror(receive, { readyLine: /socket=/ });
    const uri = `nbd+unix:///?socket=${path('copy.sock')}`;
    const monitor = ['--qmp', `unix:${path('qmp.sock')}`];
    await makeImage(path('second.raw'), MiB);
    const targets = ['-t', uri, path('second.raw')];
    const serve = ['serve', '-s', path('disk.raw'), ...targets, '-k', path('disk.sock')];
    const server = await startNbdMirror([...serve, ...monitor], { readyLine: /disk\.sock/ });
    const isReady = async () => (await runNbdMirror(['status', ...monitor, '--is', 'ready'])).code;
    await expect.poll(isReady, { timeout: 20_000 }).toBe(0);
    const told = (disk: string) =>
      `clients are on ${disk} now: to serve this disk again, give that`;
    // The other one stays on top.
    await runNbdMirror(['qmp', ...monitor, 'job-complete', 'id=mirror1']);
    await expect.poll(() => server.stderr).toContain(told(path('second.raw')));
    await runNbdMirror(['qmp', ...monitor, 'job-complete', 'id=mirror0']);
    await expect.poll(() => server.stderr).toContain(told(uri));
    const status = async () => (await runNbdMirror(['status', ...monitor])).stdout;
    await expect.poll(status).toMatch(/^export export0: node target0 \(nbd\+unix:.*\n$/);
  });

  it('goes on when its target has been away', { timeout: 40_000 }, async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), 8 * MiB, randomBytes(MiB));
    const receive = ['receive', path('copy.raw'), '--size', '8M', '-k', path('copy.sock')];
    const start = () => startNbdMirror(receive, { readyLine: /socket=/ });
    const receiver = await start();
    const uri = `nbd+unix:///?socket=${path('copy.sock')}`;
    const monitor = ['--qmp', `unix:${path('qmp.sock')}`];
    const serve = ['serve', '-s', path('disk.raw'), '-t', uri, '-k', path('disk.sock')];
    const server = await startNbdMirror([...serve, ...monitor], { readyLine: /disk\.sock/ });
    const isReady = async () => (await runNbdMirror(['status', ...monitor, '--is', 'ready'])).code;
    await expect.poll(isReady, { timeout: 20_000 }).toBe(0);
    const status = async () => (await runNbdMirror(['status', ...monitor])).stdout;
    const lost = '\n  target out of reach: ';
    expect(await status()).not.toContain(lost);
    receiver.signal('SIGKILL');
    await receiver.exited;
    expect(await status()).toContain(lost);
    await makeImage(path('new.raw'), 8 * MiB, randomBytes(2 * MiB));
    const disk = `nbd+unix:///?socket=${path('disk.sock')}`;
    expect((await runNbdMirror(['copy', path('new.raw'), disk])).stderr).toBe('');
    await start();
    await expect.poll(status, { timeout: 20_000 }).not.toContain(lost);
    const qmp = await connectQmp(path('qmp.sock'));
    await qmp.execute('block-job-cancel', { device: 'mirror0' });
    const { data } = await qmp.event('BLOCK_JOB_COMPLETED', { device: 'mirror0' });
    expect(data['error']).toBeUndefined();
    expect(readFileSync(path('copy.raw')).equals(readFileSync(path('new.raw')))).toBe(true);
    // Whoever was woken up by the first hears of the second.
    expect(server.stderr).toMatch(/lost the NBD server.*the NBD server is back/s);
  });

  it('is asked with a token where the monitor wants one', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), MiB);
    await writeFile(path('token'), 'correct-horse-battery\n', { mode: 0o600 });
    await writeFile(path('wrong'), 'wrong-horse-battery-x\n', { mode: 0o600 });
    const monitor = ['--qmp', `unix:${path('qmp.sock')}`];
    const server = ['serve', '-s', path('disk.raw'), '-k', path('disk.sock'), ...monitor];
    await startNbdMirror([...server, '--qmp-token-file', path('token')], {
      readySocket: path('disk.sock'),
    });
    const ask = (...token: string[]) => runNbdMirror(['status', ...monitor, ...token]);
    const right = await ask('--qmp-token-file', path('token'));
    expect([right.code, right.stdout]).toEqual([
      0,
      `export export0: node source (${path('disk.raw')}), 0 clients, ` +
        '0 B in 0 reads, 0 B in 0 writes\n',
    ]);
    const none = await ask();
    expect([none.code, none.stdout]).toEqual([1, '']);
    expect(none.stderr).toContain('--qmp-token-file');
    const wrong = await ask('--qmp-token-file', path('wrong'));
    expect([wrong.code, wrong.stdout]).toEqual([1, '']);
    expect(wrong.stderr).toContain(`(it was shown the one in ${path('wrong')})\n`);
  });

  it('shows what a mirror with a working bitmap warns of', async () => {
    const directory = await tempDir();
    const socket = join(directory, 'qmp.sock');
    const node = (name: string) => ['--blockdev', `driver=x-memory,node-name=${name},size=1M`];
    const monitor = ['--chardev', `socket,id=c,path=${socket},server=on,wait=off`];
    await startNbdMirror(
      ['daemon', ...node('a'), ...node('b'), ...monitor, '--monitor', 'chardev=c'],
      { readySocket: socket },
    );
    const qmp = (...words: string[]) => runNbdMirror(['qmp', '--qmp', `unix:${socket}`, ...words]);
    await qmp('block-dirty-bitmap-add', 'node=a', 'name=w');
    const mirror = ['device=a', 'target=b', 'sync=full', 'bitmap=w', 'copy-mode=write-blocking'];
    const started = await qmp('blockdev-mirror', 'job-id=m', ...mirror);
    expect(started.stdout).toBe('{}\n');
    const { stdout } = await runNbdMirror(['status', '--qmp', `unix:${socket}`]);
    expect(stdout).toContain('\n  warning: The target is not fully allocated (a hole at 0)');
    expect(stdout).toContain('\n  warning: Client writes go to the target as they are');
  });

  it('mirrors to two targets at once', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), 8 * MiB, randomBytes(MiB));
    await makeImage(path('a.raw'), 8 * MiB);
    await makeImage(path('b.raw'), 8 * MiB, randomBytes(8 * MiB));
    await startNbdMirror(
      [
        'serve',
        '-s',
        path('disk.raw'),
        '-t',
        path('a.raw'),
        path('b.raw'),
        '-k',
        path('disk.sock'),
        '--qmp',
        `unix:${path('qmp.sock')}`,
      ],
      { readySocket: path('disk.sock') },
    );
    const qmp = await connectQmp(path('qmp.sock'));
    await expect
      .poll(async () =>
        (await qmp.execute('query-block-jobs')).map((job: { ready: boolean }) => job.ready),
      )
      .toEqual([true, true]);
    await makeImage(path('new.raw'), 8 * MiB, randomBytes(2 * MiB));
    const writer = await runNbdMirror([
      'copy',
      path('new.raw'),
      `nbd+unix:///?socket=${path('disk.sock')}`,
    ]);
    expect(writer.stderr).toBe('');
    for (const job of ['mirror0', 'mirror1']) {
      await qmp.execute('block-job-cancel', { device: job });
      await qmp.event('BLOCK_JOB_COMPLETED', { device: job });
    }
    const disk = readFileSync(path('disk.raw'));
    expect(readFileSync(path('a.raw')).equals(disk)).toBe(true);
    expect(readFileSync(path('b.raw')).equals(disk)).toBe(true);
  });
});

describe('an image that is not raw', () => {
  const qcow2 = async (path: string) => makeImage(path, MiB, Buffer.from('QFI\xfb', 'latin1'));
  const told = (path: string) =>
    `nbd-mirror: ${path} looks like a qcow2 image: its bytes are taken as they are (qemu-nbd ` +
    'exports what is in it)\n';

  it('is copied as it is, with a word', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.qcow2'), join(directory, 'new.raw')];
    await qcow2(source);
    expect((await runNbdMirror(['copy', source, target])).stderr).toBe(told(source));
    // Both are one now.
    const { code, stderr } = await runNbdMirror(['copy', source, target]);
    expect([code, stderr]).toEqual([0, told(source) + told(target)]);
  });

  it('is served, mirrored to and received into, with a word', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    for (const name of ['disk', 'copy', 'far']) await qcow2(path(name));
    const serve = ['serve', '-s', path('disk'), '-t', path('copy'), '-k', path('serve.sock')];
    const server = await startNbdMirror(serve, { readyLine: /socket=/ });
    expect(server.stderr).toContain(told(path('disk')) + told(path('copy')));
    const receive = ['receive', path('far'), '-k', path('receive.sock')];
    const receiver = await startNbdMirror(receive, { readyLine: /socket=/ });
    expect(receiver.stderr).toBe(told(path('far')));
  });
});

describe('demo', () => {
  it('--once mirrors, compares and ends with 0', async () => {
    const { code, stdout, stderr } = await runNbdMirror(['demo', '--once']);
    expect([code, stderr.match(/failed|error/i)]).toEqual([0, null]);
    expect(stdout).toContain('source and target are equal');
  });

  it('ends with 0 on Ctrl-C', async () => {
    const demo = await startNbdMirror(['demo'], { readyLine: /mirror0: ready/ });
    process.kill(demo.pid, 'SIGINT');
    expect(await demo.exited).toBe(0);
  });
});

describe('help and version', () => {
  it.each([['--help'], ['serve', '--help'], ['daemon', '--help'], ['help', 'copy']])(
    '%s %s',
    async (...args) => {
      const { code, stdout } = await runNbdMirror(args.filter((word) => word !== undefined));
      expect(code).toBe(0);
      expect(stdout).toContain('nbd-mirror');
    },
  );

  it('--version prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect((await runNbdMirror(['--version'])).stdout).toBe(`${version}\n`);
  });

  it('--version is ours also inside another package', async () => {
    const outer = await tempDir();
    const inner = join(outer, 'nbd-mirror');
    await writeFile(join(outer, 'package.json'), '{"version":"outer"}');
    for (const name of ['bin', 'dist', 'package.json']) {
      cpSync(name, join(inner, name), { recursive: true });
    }
    symlinkSync(resolve('node_modules'), join(inner, 'node_modules'));
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    const printed = await mustRun(process.execPath, [join(inner, 'bin/nbd-mirror'), '--version']);
    expect(printed).toBe(`${version}\n`);
  });
});
