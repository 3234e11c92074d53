import { expect, it } from 'vitest';
import { describePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { startQmpRig } from '../support/qmp-rig.ts';

/**
 * iotest nbd-qemu-allocation: `qemu:allocation-depth`. Raw disks have no backing files, so a range
 * is in the disk itself (1) or nowhere (0).
 */
const MiB = 1 << 20;

describePeers('qemu:allocation-depth', ['qemu-io', 'qemu-nbd', 'qemu-img', 'nbdinfo'], () => {
  it('is listed where it is offered, and maps what is there', async () => {
    const rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'disk', size: 4 * MiB });
    await rig.startNbdServer();
    const disk = { type: 'nbd', 'node-name': 'disk' };
    await rig.execute('block-export-add', { ...disk, id: 'plain', name: 'plain', writable: true });
    const depth = { id: 'depth', name: 'depth', 'allocation-depth': true };
    await rig.execute('block-export-add', { ...disk, ...depth });
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write 1M 2M', rig.uri('plain')]);

    const [, plain, offered] = (await mustRun('qemu-nbd', ['-L', '-k', rig.socket])).split(
      / export: /,
    );
    expect(plain).not.toContain('qemu:allocation-depth');
    expect(offered).toContain('qemu:allocation-depth');

    const context = 'qemu:allocation-depth';
    const map = JSON.parse(
      await mustRun('nbdinfo', [`--map=${context}`, '--json', rig.uri('depth')]),
    );
    expect(map).toEqual([
      { offset: 0, length: MiB, type: 0, description: 'absent' },
      { offset: MiB, length: 2 * MiB, type: 1, description: 'local' },
      { offset: 3 * MiB, length: MiB, type: 0, description: 'absent' },
    ]);

    const server = `driver=nbd,server.type=unix,server.path=${rig.socket},export=depth`;
    const mappedByQemu = JSON.parse(
      await mustRun('qemu-img', [
        'map',
        '--output=json',
        '--image-opts',
        `${server},x-dirty-bitmap=${context}`,
      ]),
    );
    expect(
      mappedByQemu.map(({ start, length, data }: Record<string, unknown>) => [start, length, data]),
    ).toEqual([
      [0, MiB, true],
      [MiB, 2 * MiB, false],
      [3 * MiB, MiB, true],
    ]);
  });
});
