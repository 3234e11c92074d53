import { randomFillSync } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeMonitorRig } from '../support/monitor-rig.ts';
import { currentScope, describePeers, nbdUri, startQemuNbd, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { QmpPeer } from '../support/qmp-peer.ts';

const MiB = 1 << 20;

describePeers('a mirror driven over a QMP socket', ['qemu-nbd', 'qemu-img', 'qemu-io'], () => {
  it('follows what clients of the export write, on an NBD target, and goes on there', async () => {
    const directory = await tempDir();
    const [source, target] = ['source.img', 'target.img'].map((name) => join(directory, name));
    await writeFile(source!, randomFillSync(Buffer.alloc(4 * MiB)));
    await truncate(source!, 16 * MiB);
    await writeFile(target!, '');
    await truncate(target!, 16 * MiB);
    const { socket: targetSocket } = await startQemuNbd({ file: target!, exportName: 'copy' });

    const rig = makeMonitorRig();
    currentScope().onClose(() => rig.close());
    await rig.monitor.listen({ type: 'unix', path: join(directory, 'qmp') });
    const qmp = await QmpPeer.connect(join(directory, 'qmp'));
    const execute = async (command: string, given?: object) =>
      expect(await qmp.execute(command, given)).toHaveProperty('return');
    await execute('qmp_capabilities');
    await execute('blockdev-add', { driver: 'file', 'node-name': 'src', filename: source });
    const server = { type: 'unix', path: targetSocket };
    await execute('blockdev-add', { driver: 'nbd', 'node-name': 'tgt', server, export: 'copy' });
    const path = join(directory, 'nbd');
    await execute('nbd-server-start', { addr: { type: 'unix', data: { path } } });
    const disk = { type: 'nbd', id: 'e0', 'node-name': 'src', name: 'disk', writable: true };
    await execute('block-export-add', disk);
    const mirror = { 'job-id': 'm0', device: 'src', target: 'tgt', sync: 'full' };
    await execute('blockdev-mirror', mirror);
    await qmp.event('BLOCK_JOB_READY');

    const write = (pattern: string) =>
      mustRun('qemu-io', ['-f', 'raw', '-c', pattern, nbdUri(path, 'disk')]);
    await write('write -P 0x5a 5M 1M');
    await execute('job-complete', { id: 'm0' });
    await qmp.event('BLOCK_JOB_COMPLETED');
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', source!, target!]);
    await write('write -P 0xa5 6M 1M');
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'read -P 0xa5 6M 1M', nbdUri(path, 'disk')]);
    qmp.close();
    await rig.close();
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 0xa5 6M 1M', target!]);
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 0 6M 1M', source!]);
  });
});
