import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage } from '../support/nbd-mirror.ts';
import { describePeers, startProcess, tempDir } from '../support/peers.ts';
import { pause } from '../support/process.ts';
import { startQmpRig } from '../support/qmp-rig.ts';

/** iotest nbd-reconnect-on-open: `open-timeout` waits for a server that is not there yet. */
const nbd = (path: string, openTimeout: number) => ({
  driver: 'nbd',
  'node-name': 'disk',
  server: { type: 'unix', path },
  'open-timeout': openTimeout,
});

describePeers('open-timeout', ['qemu-nbd'], () => {
  it('finds a server that appears later', async () => {
    const directory = await tempDir();
    const [file, socket] = [join(directory, 'disk.raw'), join(directory, 'nbd.sock')];
    await makeImage(file, 1 << 20);
    const rig = await startQmpRig();
    let answered = false;
    const opened = rig.execute('blockdev-add', nbd(socket, 60)).then(() => {
      answered = true;
    });
    await pause(200);
    expect(answered).toBe(false);
    await startProcess('qemu-nbd', ['-t', '-f', 'raw', '-k', socket, file], {
      readySocket: socket,
    });
    await opened;
    await rig.execute('blockdev-del', { 'node-name': 'disk' });
  });

  it('gives up when it is over: 0 at once, longer ones later', async () => {
    const nowhere = join(await tempDir(), 'nobody.sock');
    const given: number[] = [];
    const waits = [2, 1, 0].map(async (openTimeout) => {
      const rig = await startQmpRig();
      const begin = performance.now();
      const refusal = await rig.refusal('blockdev-add', nbd(nowhere, openTimeout));
      given.push(openTimeout);
      expect(refusal).toContain(`Cannot connect to unix:${nowhere}: there is no such socket`);
      return performance.now() - begin;
    });
    const [two, one, zero] = await Promise.all(waits);
    expect(given).toEqual([0, 1, 2]);
    expect(one! / zero!).toBeGreaterThan(2);
    expect(two! / one!).toBeGreaterThan(1.5);
  });
});
