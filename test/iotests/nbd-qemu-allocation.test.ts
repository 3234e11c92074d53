import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeSparseFile } from '../support/file-rig.ts';
import { describePeers, nbdUri, startQsd, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { startQmpRig } from '../support/qmp-rig.ts';

/**
 * iotest nbd-qemu-allocation: `qemu:allocation-depth`. Raw disks have no backing files: all of a
 * disk is in the disk itself (1), holes included, as in QEMU.
 */
const MiB = 1 << 20;
const CONTEXT = 'qemu:allocation-depth';
const DISK = { type: 'nbd', 'node-name': 'disk', 'allocation-depth': true } as const;

async function mapOf(uri: string): Promise<unknown> {
  return JSON.parse(await mustRun('nbdinfo', [`--map=${CONTEXT}`, '--json', uri]));
}

describePeers(CONTEXT, ['qemu-nbd', 'qemu-img', 'nbdinfo', 'qemu-storage-daemon'], () => {
  it('is listed where it is offered', async () => {
    const rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'disk', size: 4 * MiB });
    await rig.startNbdServer();
    await rig.execute('block-export-add', { ...DISK, id: 'depth', name: 'depth' });
    const without = { ...DISK, 'allocation-depth': false };
    await rig.execute('block-export-add', { ...without, id: 'plain', name: 'plain' });
    const exports = (await mustRun('qemu-nbd', ['-L', '-k', rig.socket])).split(/ export: /);
    const offering = exports.filter((text) => text.includes(CONTEXT));
    expect(offering).toHaveLength(1);
    expect(offering[0]).toMatch(/^'depth'/);
  });

  it('tells of a disk with holes what qemu-storage-daemon tells', async () => {
    const filename = join(await tempDir(), 'disk.raw');
    await makeSparseFile(filename, 4 * MiB);
    const rig = await startQmpRig();
    const file = { driver: 'file', 'node-name': 'disk', filename, 'read-only': true } as const;
    await rig.execute('blockdev-add', file);
    await rig.startNbdServer();
    await rig.execute('block-export-add', { ...DISK, id: 'depth', name: 'depth' });
    const ours = rig.uri('depth');

    const socket = join(await tempDir(), 'nbd.sock');
    await startQsd([
      ...['--blockdev', `driver=file,node-name=disk,filename=${filename},read-only=on`],
      ...['--nbd-server', `addr.type=unix,addr.path=${socket}`],
      ...['--export', 'type=nbd,id=depth,node-name=disk,name=depth,allocation-depth=on'],
    ]);
    const map = await mapOf(ours);
    expect(map).toEqual([{ offset: 0, length: 4 * MiB, type: 1, description: 'local' }]);
    expect(map).toEqual(await mapOf(nbdUri(socket, 'depth')));

    const server = `driver=nbd,server.type=unix,server.path=${rig.socket},export=depth`;
    const options = ['--output=json', '--image-opts', `${server},x-dirty-bitmap=${CONTEXT}`];
    const mapped = JSON.parse(await mustRun('qemu-img', ['map', ...options]));
    expect(mapped).toMatchObject([{ start: 0, length: 4 * MiB, data: false }]);
  });
});
