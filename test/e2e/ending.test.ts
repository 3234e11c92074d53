import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connectQmp, makeImage, startDaemon, startNbdMirror } from '../support/nbd-mirror.ts';
import { tempDir } from '../support/peers.ts';
import { type Script, startScriptedServer } from '../support/scripted-server.ts';

/** The end of the process, by `quit` or a signal, whatever it is waiting for. */

/** Takes connections and never says a word. */
const mute: Script = () => new Promise<void>(() => {});

/** Longer than any test. */
const HOUR = { 'open-timeout': 3600 };

it.each(['blockdev-add', 'drive-mirror'] as const)(
  'quit gives up a %s whose server does not answer',
  { timeout: 20_000 },
  async (command) => {
    const server = await startScriptedServer(mute);
    const { qmp, qmpPath, process } = await startDaemon();
    await qmp.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'source', size: 1 << 20 });
    const waiting =
      command === 'blockdev-add'
        ? qmp.execute(command, { driver: 'nbd', 'node-name': 'n', server: server.address, ...HOUR })
        : qmp.execute(command, {
            'job-id': 'm0',
            device: 'source',
            target: `nbd+unix:///?socket=${server.address.path}`,
            sync: 'full',
          });
    const refused = expect(waiting).rejects.toThrow('given up');
    await expect.poll(() => server.connections).toBe(1);
    const other = await connectQmp(qmpPath);
    await other.execute('quit');
    await refused;
    expect(await process.exited).toBe(0);
  },
);

it('quit gives up many of them, without a word', { timeout: 20_000 }, async () => {
  const server = await startScriptedServer(mute);
  const daemon = await startDaemon();
  const MANY = 12;
  const refused: Promise<void>[] = [];
  for (let n = 0; n < MANY; n++) {
    const qmp = await connectQmp(daemon.qmpPath);
    const node = { driver: 'nbd', 'node-name': `n${n}`, server: server.address, ...HOUR };
    refused.push(expect(qmp.execute('blockdev-add', node)).rejects.toThrow('given up'));
  }
  await expect.poll(() => server.connections).toBe(MANY);
  await daemon.qmp.execute('quit');
  await Promise.all(refused);
  expect(await daemon.process.exited).toBe(0);
  expect(daemon.process.stderr).toBe('');
});

it.each(['SIGTERM', 'quit'])(
  '%s ends a serve that has not found its target yet',
  { timeout: 20_000 },
  async (how) => {
    const server = await startScriptedServer(mute);
    const path = async (name: string) => join(await tempDir(), name);
    const [source, socket] = [await path('disk.raw'), await path('qmp.sock')];
    await makeImage(source, 1 << 20);
    const uri = `nbd+unix:///?socket=${server.address.path}`;
    const args = ['serve', '-s', source, '-t', uri, '-k', await path('nbd.sock')];
    const process = await startNbdMirror([...args, '--qmp', `unix:${socket}`], {
      readySocket: socket,
    });
    await expect.poll(() => server.connections).toBe(1);
    if (how === 'SIGTERM') process.signal(how);
    else await (await connectQmp(socket)).execute('quit');
    expect(await process.exited).toBe(0);
    expect(process.stderr).toBe('');
  },
);

it('a daemon that listens nowhere stays until it is told to end', async () => {
  const pidFile = join(await tempDir(), 'pid');
  const args = ['--blockdev', 'driver=x-memory,node-name=d,size=1M', '--pidfile', pidFile];
  const daemon = await startNbdMirror(['daemon', ...args], { readyFile: pidFile });
  daemon.signal('SIGTERM');
  expect(await daemon.exited).toBe(0);
  expect(existsSync(pidFile)).toBe(false);
});
