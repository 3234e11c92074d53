import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeImage, runNbdMirror, startDaemon, startNbdMirror } from '../support/nbd-mirror.ts';
import { currentScope, describePeers, nbdUri, tempDir } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { startScriptedServer } from '../support/scripted-server.ts';

/** Commands that cannot do what they were asked, or are interrupted: what they say and leave. */
const MiB = 1 << 20;
const SIGNALS = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const;

describe('copy', () => {
  /** A source of which a slow copy has done a little by now. */
  async function startCopy(target: string) {
    const source = join(await tempDir(), 'disk.raw');
    await makeImage(source, 64 * MiB, randomBytes(64 * MiB));
    const words = ['copy', '--progress', '--speed', '4M', source, target];
    return startNbdMirror(words, { readyLine: /copy: transferred/ });
  }

  it.each(SIGNALS)('takes a target that it made away on %s', async (signal, code) => {
    const target = join(await tempDir(), 'new.raw');
    const copy = await startCopy(target);
    expect(existsSync(target)).toBe(true);
    copy.signal(signal);
    expect(await copy.exited).toBe(code);
    expect(existsSync(target)).toBe(false);
    const said = `nbd-mirror: copy was interrupted: ${target} is removed again\n`;
    expect(copy.stderr.replace(/^copy: .*\n/gm, '')).toBe(said);
    expect(copy.stdout).toBe('');
  });

  it('says that a target which was there is half copied', async () => {
    const target = join(await tempDir(), 'old.raw');
    await makeImage(target, 64 * MiB);
    const copy = await startCopy(target);
    copy.signal('SIGINT');
    expect(await copy.exited).toBe(130);
    expect(copy.stderr).toContain(`nbd-mirror: copy was interrupted: ${target} is half copied\n`);
    expect(readFileSync(target)).toHaveLength(64 * MiB);
  });

  it('can be interrupted before it has found its source', async () => {
    const server = await startScriptedServer(() => new Promise<void>(() => {}));
    const target = join(await tempDir(), 'new.raw');
    const copy = await startNbdMirror(['copy', nbdUri(server.address.path), target], {});
    await expect.poll(() => server.connections, { timeout: 20_000 }).toBe(1);
    copy.signal('SIGINT');
    expect(await copy.exited).toBe(130);
    expect(copy.stderr).toBe('nbd-mirror: copy was interrupted: nothing was copied\n');
    expect(existsSync(target)).toBe(false);
  });
});

describe('demo', () => {
  it('--once says what was transferred, not how large the disk is', async () => {
    const { code, stdout } = await runNbdMirror(['demo', '--once']);
    expect(code).toBe(0);
    const said = /^mirrored a disk of 256 MiB in \S+ s: transferred (\S+) MiB while/m.exec(stdout);
    // The sample disk has 7 MiB of data, and what the client writes comes to it.
    expect(Number(said?.[1])).toBeGreaterThan(6);
    expect(Number(said?.[1])).toBeLessThan(100);
  });

  it('has one sentence for a TMPDIR that is not there', async () => {
    const { code, stdout, stderr } = await runNbdMirror(['demo'], {
      env: { TMPDIR: '/nonexistent' },
    });
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^nbd-mirror: Cannot make a directory in \/nonexistent: .*\n$/);
  });
});

describePeers('demo without room for its disk', ['prlimit'], () => {
  it('has one sentence and leaves nothing behind', async () => {
    const directory = await tempDir();
    const limited = ['--fsize=65536', '--', process.execPath, 'bin/nbd-mirror', 'demo'];
    const options = { env: { TMPDIR: directory }, timeoutMs: 60_000 };
    const { code, stdout, stderr } = await run('prlimit', limited, options);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^nbd-mirror: Cannot make the sample disk .*: EFBIG: .*\n$/);
    expect(readdirSync(directory)).toEqual([]);
  });
});

/** A QEMU that is shut down as soon as somebody looks. */
async function startLeaving(path: string): Promise<void> {
  const server = createServer((socket) => {
    socket.write('{"QMP": {}}\r\n');
    socket.once('data', () => socket.end('{"return": {}}\r\n{"event": "SHUTDOWN"}\r\n'));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  currentScope().onClose(async () => void server.close());
}

describe('qmp', () => {
  it('sends words as the schema wants them', async () => {
    const { qmp, qmpPath } = await startDaemon();
    const ask = (...words: string[]) => runNbdMirror(['qmp', '--qmp', `unix:${qmpPath}`, ...words]);
    const done = { code: 0, stdout: '{}\n', stderr: '' };
    const node = ['driver=x-memory', 'node-name=n5', 'size=1M'];
    expect(await ask('blockdev-add', ...node)).toEqual(done);
    const bitmap = ['node=n5', 'name=123', 'granularity=64K'];
    expect(await ask('block-dirty-bitmap-add', ...bitmap)).toEqual(done);
    await qmp.execute('nbd-server-stop');
    const address = ['addr.type=inet', 'addr.data.host=127.0.0.1', 'addr.data.port=0'];
    expect(await ask('nbd-server-start', ...address)).toEqual(done);
    expect(await ask('block-export-add', 'type=nbd', 'id=on', 'node-name=n5')).toEqual(done);
    expect(await qmp.execute('query-block-exports')).toMatchObject([{ id: 'on' }]);
    const [info] = await qmp.execute('query-named-block-nodes');
    expect(info?.['dirty-bitmaps']).toMatchObject([{ name: '123', granularity: 65536 }]);
  });

  it('leaves blanks in a line of stdin as they are', async () => {
    const { qmp, qmpPath } = await startDaemon();
    const node = { driver: 'x-memory', 'node-name': 'source', size: MiB };
    await qmp.execute('blockdev-add', node);
    const input = 'block-dirty-bitmap-add {"node":"source","name":"a  b"}\n';
    const { stdout } = await runNbdMirror(['qmp', '--qmp', `unix:${qmpPath}`], { input });
    expect(stdout).toBe('{}\n');
    const [info] = await qmp.execute('query-named-block-nodes');
    expect(info?.['dirty-bitmaps']).toMatchObject([{ name: 'a  b' }]);
  });

  it('takes messages from lines, and goes on behind what is none', async () => {
    const { qmpPath } = await startDaemon();
    const lines = [
      '{"execute": "qmp_capabilities"}',
      '{"execute": "job-pause", "arguments": {"id": "nope"}, "id": 7}',
      '{"execute": ',
      'job-pause id',
      '{"execute": "query-jobs"}',
    ];
    const input = `${lines.join('\n')}\n`;
    const { code, stdout, stderr } = await runNbdMirror(['qmp', '--qmp', `unix:${qmpPath}`], {
      input,
    });
    const answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    const refused = (desc: unknown) => ({ error: { class: 'GenericError', desc } });
    expect(answers).toEqual([
      {},
      refused('Job not found'),
      refused(expect.stringContaining('Cannot read the line as JSON')),
      refused(expect.stringContaining("Expected '=' after parameter 'id'")),
      [],
    ]);
    expect([code, stderr]).toEqual([1, '']);
  });

  it('--events is no success when the daemon has gone without a word', async () => {
    const { process: daemon, qmpPath } = await startDaemon();
    const monitor = ['qmp', '--qmp', `unix:${qmpPath}`, '--events'];
    const watch = await startNbdMirror([...monitor, 'query-jobs'], { readyLine: /\[\]/ });
    daemon.signal('SIGKILL');
    expect(await watch.exited).toBe(1);
    expect(watch.stderr).toBe(`nbd-mirror: The connection to unix:${qmpPath} was lost\n`);
  });

  it('--events is one when it was told to end, or heard that it will', async () => {
    const { qmpPath } = await startDaemon();
    const ended = await runNbdMirror(['qmp', '--qmp', `unix:${qmpPath}`, '--events', 'quit']);
    expect(ended).toEqual({ code: 0, stdout: '{}\n', stderr: '' });
    const path = join(await tempDir(), 'qemu.sock');
    await startLeaving(path);
    const told = await runNbdMirror(['qmp', '--qmp', `unix:${path}`, '--events']);
    expect(told).toEqual({ code: 0, stdout: '{"event":"SHUTDOWN"}\n', stderr: '' });
  });
});

it('status says at once that an NBD server is no QMP server', { timeout: 8000 }, async () => {
  const { socket } = await startDaemon();
  const { code, stderr } = await runNbdMirror(['status', '--qmp', `unix:${socket}`]);
  expect(code).toBe(1);
  expect(stderr).toContain(`unix:${socket} does not speak QMP: it sent "NBDMAGIC`);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});
