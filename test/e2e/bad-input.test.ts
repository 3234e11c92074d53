import { linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeImage, runNbdMirror, startNbdMirror } from '../support/nbd-mirror.ts';
import { currentScope, tempDir } from '../support/peers.ts';

/** Wrong use: one sentence on stderr that names the thing, exit code 1, nothing made or changed. */
const MiB = 1 << 20;

async function refusal(args: readonly string[], directory: string) {
  const before = readdirSync(directory).sort();
  const { code, stdout, stderr } = await runNbdMirror(args);
  expect(readdirSync(directory).sort()).toEqual(before);
  expect(code, stderr).toBe(1);
  expect(stdout).toBe('');
  return stderr;
}

/** One line, and no stack trace. */
function expectSentence(stderr: string, ...parts: string[]): void {
  expect(stderr.trim().split('\n'), stderr).toHaveLength(1);
  for (const part of parts) expect(stderr).toContain(part);
}

describe('serve refuses', () => {
  it('a source that is not there', async () => {
    const directory = await tempDir();
    const source = join(directory, 'no.raw');
    const said = await refusal(['serve', '-s', source, '-k', join(directory, 's')], directory);
    expectSentence(said, source, 'No such file or directory');
  });

  it('a source that cannot be looked at', async () => {
    const directory = await tempDir();
    const source = join(directory, 'loop');
    symlinkSync('loop', source);
    const said = await refusal(['serve', '-s', source, '-k', join(directory, 's')], directory);
    expectSentence(said, source, 'symbolic links');
  });

  it('a source that is a directory', async () => {
    const directory = await tempDir();
    mkdirSync(join(directory, 'd'));
    const source = join(directory, 'd');
    const said = await refusal(['serve', '-s', source, '-k', join(directory, 's')], directory);
    expectSentence(said, source);
  });

  it('a target that is not there', async () => {
    const directory = await tempDir();
    const source = join(directory, 'disk.raw');
    await makeImage(source, MiB);
    const uri = `nbd+unix:///?socket=${directory}/no.sock`;
    const said = await refusal(
      ['serve', '-s', source, '-t', uri, '-k', join(directory, 's')],
      directory,
    );
    expectSentence(said, join(directory, 'no.sock'), 'there is no such socket');
  });

  it('a target of another size', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'small.raw')];
    await makeImage(source, MiB);
    await makeImage(target, MiB / 2);
    const said = await refusal(
      ['serve', '-s', source, '-t', target, '-k', join(directory, 's')],
      directory,
    );
    expectSentence(said, source, target, '1048576', '524288');
  });

  it('a port in use', async () => {
    const directory = await tempDir();
    const source = join(directory, 'disk.raw');
    await makeImage(source, MiB);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    currentScope().onClose(async () => void server.close());
    const { port } = server.address() as { port: number };
    const said = await refusal(['serve', '-s', source, '-p', String(port)], directory);
    expectSentence(said, `127.0.0.1:${port}`, 'in use');
  });

  it('a source and a target that are the same file', async () => {
    const directory = await tempDir();
    const source = join(directory, 'disk.raw');
    await makeImage(source, MiB);
    const said = await refusal(
      ['serve', '-s', source, '-t', source, '-k', join(directory, 's')],
      directory,
    );
    expectSentence(said, source, 'they are the same file');
  });

  it('two targets that are the same file', async () => {
    const directory = await tempDir();
    const path = (name: string) => join(directory, name);
    await makeImage(path('disk.raw'), MiB);
    await makeImage(path('copy.raw'), MiB);
    symlinkSync('copy.raw', path('link'));
    const targets = ['-t', path('copy.raw'), path('link')];
    const said = await refusal(
      ['serve', '-s', path('disk.raw'), ...targets, '-k', path('s')],
      directory,
    );
    expectSentence(said, path('copy.raw'), path('link'), 'they are the same file');
  });

  it.each([
    [['--port', '70000'], 'port'],
    [['--granularity', 'x'], 'size'],
    [['--granularity', '1000', '-t', 'T'], 'granularity'],
    [['--copy-mode', 'psychic'], 'psychic'],
    [['--speed', '-1'], 'size'],
    [['--prot', '1'], '--port'],
    [['--qmp', 'nowhere'], 'unix:PATH'],
    [['--qmp', 'tcp:0.0.0.0:4444'], 'loopback'],
    [['--read-only', '-t', 'T'], 'read-only'],
    [['--port', '1e3'], 'port'],
    [['--port', ''], 'port'],
    [['--bind', ''], 'host'],
    [['--port', '1000'], '--socket'],
    [['--bitmap', 'b'], '--target'],
    [['--granularity', '64K'], '--target'],
    [['--speed', '1M'], '--target'],
    [['--copy-mode', 'write-blocking'], '--target'],
    [['--sync', 'top'], '--target'],
    [['--reconnect-delay', '5'], '--target'],
    [['--reconnect-delay', '5', '-t', 'T'], 'NBD URI'],
    [['--qmp-token-file', 'token'], '--qmp'],
    [['--reconnect-delay', 'soon', '-t', 'T'], 'seconds'],
  ])('%j', async (args, part) => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'copy.raw')];
    await makeImage(source, MiB);
    await makeImage(target, MiB);
    const given = args.map((word) => (word === 'T' ? target : word));
    const said = await refusal(
      ['serve', '-s', source, '-k', join(directory, 's'), ...given],
      directory,
    );
    expect(said).toContain(part);
    expect(said).not.toContain('    at ');
  });
});

it('--cache of a source that is a server', async () => {
  const directory = await tempDir();
  const source = `nbd+unix:///?socket=${join(directory, 'nobody')}`;
  const said = await refusal(
    ['serve', '-s', source, '-k', join(directory, 's'), '--cache', 'none'],
    directory,
  );
  expectSentence(said, '--cache', 'NBD URI');
});

describe('before a target is written to, serve refuses', () => {
  it.each([
    [['--bind', '192.0.2.77'], '192.0.2.77'],
    [['--pid-file', '/no/such/directory/pid'], '/no/such/directory/pid'],
    [['--pid-file', '/dev/null'], 'not a file'],
    [['--socket', 'FILE'], 'something else than a socket'],
  ])('%j', async (args, part) => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'copy.raw')];
    await makeImage(source, MiB, Buffer.from('data'));
    await makeImage(target, MiB);
    const given = args.map((word) => (word === 'FILE' ? source : word));
    const said = await refusal(['serve', '-s', source, '-t', target, ...given], directory);
    expectSentence(said, part);
    expect(readFileSync(target).equals(Buffer.alloc(MiB))).toBe(true);
  });
});

describe('receive refuses', () => {
  it('a size that no file can have, and makes none', async () => {
    const directory = await tempDir();
    const args = ['receive', join(directory, 'new.raw'), '--size', '9000000000000000'];
    expectSentence(await refusal(args, directory), 'new.raw');
  });

  it('a disk of another size than it was to make', async () => {
    const directory = await tempDir();
    const disk = join(directory, 'disk.raw');
    await makeImage(disk, MiB);
    const args = ['receive', disk, '--size', '2M', '-k', join(directory, 's')];
    expectSentence(await refusal(args, directory), disk, '1048576', '2097152');
  });
});

describe('a socket path that is too long', () => {
  it('is refused, not cut off', async () => {
    const directory = await tempDir();
    const source = join(directory, 'disk.raw');
    await makeImage(source, MiB);
    const said = await refusal(['serve', '-s', source, '-k', `/tmp/${'l'.repeat(110)}`], directory);
    expectSentence(said, 'at most 107 bytes');
  });
});

describe('copy refuses', () => {
  it('a source that is not there, and makes no target', async () => {
    const directory = await tempDir();
    const source = join(directory, 'no.raw');
    expectSentence(await refusal(['copy', source, join(directory, 'new')], directory), source);
  });

  it('a target that is too small', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'small.raw')];
    await makeImage(source, MiB);
    await makeImage(target, 4096);
    expectSentence(await refusal(['copy', source, target], directory), target, 'too small');
  });

  it('a larger target for a source that is no whole sectors', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'large.raw')];
    await makeImage(source, 1000, Buffer.from('data'));
    await makeImage(target, 4096);
    const said = await refusal(['copy', source, target], directory);
    expectSentence(said, source, target, 'has 1000 bytes', 'exactly as many, not 4096');
    expect(readFileSync(target).equals(Buffer.alloc(4096))).toBe(true);
  });

  it('a target in a directory that is not there', async () => {
    const directory = await tempDir();
    const source = join(directory, 'disk.raw');
    await makeImage(source, MiB);
    const target = join(directory, 'no', 'copy');
    expectSentence(await refusal(['copy', source, target], directory), target);
  });

  it('a target that is its source, by another name', async () => {
    const directory = await tempDir();
    const [source, target] = [join(directory, 'disk.raw'), join(directory, 'link')];
    await makeImage(source, MiB);
    linkSync(source, target);
    const said = await refusal(['copy', source, target], directory);
    expectSentence(said, source, target, 'they are the same file');
  });

  it.each([
    ['-', 'DISK'],
    ['DISK', '-'],
  ])('a pipe: %s %s', async (...disks) => {
    const directory = await tempDir();
    const disk = join(directory, 'disk.raw');
    await makeImage(disk, MiB);
    const words = disks.map((word) => (word === 'DISK' ? disk : word));
    expectSentence(await refusal(['copy', ...words], directory), disk, 'disks are no pipes');
  });

  it('TLS, with a sentence', async () => {
    const directory = await tempDir();
    const said = await refusal(['copy', 'nbds://127.0.0.1/', join(directory, 'x')], directory);
    expectSentence(said, 'nbds://127.0.0.1/', 'TLS');
  });
});

describe('other commands refuse', () => {
  it('a daemon that is not there', async () => {
    const directory = await tempDir();
    const said = await refusal(['status', '--qmp', `unix:${directory}/no.sock`], directory);
    expectSentence(said, `${directory}/no.sock`);
  });

  it('a pid file of one that runs, and leave it alone', async () => {
    const directory = await tempDir();
    const [source, pidFile] = [join(directory, 'disk.raw'), join(directory, 'pid')];
    await makeImage(source, MiB);
    const first = ['daemon', '--blockdev', `file,node-name=d,filename=${source}`];
    const running = await startNbdMirror([...first, '--pidfile', pidFile], { readyFile: pidFile });
    const second = ['serve', '-s', source, '-k', join(directory, 's'), '-P', pidFile];
    expectSentence(await refusal(second, directory), pidFile, String(running.pid));
    expect(readFileSync(pidFile, 'utf8')).toBe(`${running.pid}\n`);
  });

  it('an unknown command, with the nearest one', async () => {
    const directory = await tempDir();
    expect(await refusal(['serv'], directory)).toContain('serve');
    const said = await refusal(['help', 'serv'], directory);
    expect(said).toContain("unknown command 'serv'\n(Did you mean serve?)");
  });
});
