import { expect, it } from 'vitest';
import { areEqual, pattern } from '../support/mirror-rig.ts';
import { describePeers, startNbdkit } from '../support/peers.ts';
import { pause } from '../support/process.ts';
import { QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

const MiB = 1 << 20;

/** What a forced cancel leaves of the connection to a server that answers. */
describePeers('a mirror to nbdkit that is cancelled by force', ['nbdkit'], () => {
  /** A source with data, and nodes `between`, on a server that takes its time, and `target`. */
  async function slow(...delays: string[]) {
    const args = ['--filter=exitlast', '--filter=delay', 'memory', `${MiB}`, ...delays];
    const { socket } = await startNbdkit(args);
    const rig = new QmpMirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    await rig.call('blockdev-add', {
      driver: 'nbd',
      'node-name': 'between',
      server: { type: 'unix', path: socket },
    });
    const ready = (id: string) => rig.told('BLOCK_JOB_READY', ({ device }) => device === id);
    return { rig, ready };
  }

  it('does not end the mirror of its target', async () => {
    const { rig, ready } = await slow('rdelay=300ms');
    await rig.mirror({ target: 'between' });
    await ready('m0');
    await rig.mirror({ 'job-id': 'm1', device: 'between' });
    // It waits for what it reads.
    await pause(50);
    await rig.call('job-cancel', { id: 'm0' });
    await rig.status('null');
    await ready('m1');
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('lets copies end, and leaves the server there for the next one', async () => {
    const { rig, ready } = await slow('wdelay=300ms');
    await rig.mirror({ target: 'between' });
    await expect.poll(() => rig.source.log.some((entry) => entry.startsWith('read'))).toBe(true);
    await pause(20);
    await rig.call('job-cancel', { id: 'm0' });
    await rig.status('null');
    await rig.mirror({ 'job-id': 'm1', target: 'between' });
    await ready('m1');
  });
});
