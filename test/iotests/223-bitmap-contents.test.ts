import { beforeEach, expect, it } from 'vitest';
import { describePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { type QmpRig, startQmpRig } from '../support/qmp-rig.ts';

/**
 * iotest 223: what clients see of bitmaps of a coarse and of a fine granularity, each through
 * nbdinfo and through QEMU's own client (`x-dirty-bitmap`).
 */
const KiB = 1024;
const SIZE = 4096 * KiB;
const QEMU_IO = ['-f', 'raw'];

describePeers('bitmaps over NBD', ['qemu-io', 'qemu-nbd', 'qemu-img', 'nbdinfo'], () => {
  let rig: QmpRig;
  beforeEach(async () => {
    rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'disk', size: SIZE });
    for (const [name, granularity] of [
      ['coarse', 65536],
      ['fine', 512],
    ]) {
      await rig.execute('block-dirty-bitmap-add', { node: 'disk', name, granularity });
    }
    await rig.startNbdServer();
  });

  const add = (id: string, more: object) =>
    rig.execute('block-export-add', { type: 'nbd', id, 'node-name': 'disk', name: id, ...more });
  const write = (uri: string, ...ranges: string[]) =>
    mustRun('qemu-io', [...QEMU_IO, ...ranges.flatMap((range) => ['-c', `write ${range}`]), uri]);
  /** Dirty ranges as nbdinfo shows them. */
  const mapped = async (name: string, bitmap: string): Promise<number[][]> => {
    const context = `--map=qemu:dirty-bitmap:${bitmap}`;
    const map = JSON.parse(await mustRun('nbdinfo', [context, '--json', rig.uri(name)]));
    return map
      .filter(({ type }: { type: number }) => type === 1)
      .map(({ offset, length }: Record<string, number>) => [offset, length]);
  };
  /** As QEMU's client shows them: what is dirty looks like a hole there. */
  const mappedByQemu = async (name: string, bitmap: string): Promise<number[][]> => {
    const server = `server.type=unix,server.path=${rig.socket}`;
    const context = `x-dirty-bitmap=qemu:dirty-bitmap:${bitmap}`;
    const options = `driver=nbd,${server},export=${name},${context}`;
    const map = JSON.parse(
      await mustRun('qemu-img', ['map', '--output=json', '--image-opts', options]),
    );
    return map
      .filter(({ data }: { data: boolean }) => !data)
      .map(({ start, length }: Record<string, number>) => [start, length]);
  };

  it('show each what was written, in their own granules', async () => {
    await add('rw', { writable: true });
    await write(rig.uri('rw'), '512 512', '256k 64k', '1000k 1');
    for (const name of ['coarse', 'fine']) {
      await rig.execute('block-dirty-bitmap-disable', { node: 'disk', name });
    }
    await add('ro', { bitmaps: ['coarse', 'fine'] });
    const coarse = [
      [0, 64 * KiB],
      [256 * KiB, 64 * KiB],
      [960 * KiB, 64 * KiB],
    ];
    const fine = [
      [512, 512],
      [256 * KiB, 64 * KiB],
      [1000 * KiB, 512],
    ];
    for (const map of [mapped, mappedByQemu]) {
      expect(await map('ro', 'coarse')).toEqual(coarse);
      expect(await map('ro', 'fine')).toEqual(fine);
    }
    // Frozen in the read-only export, whatever the writable one does now.
    await write(rig.uri('rw'), '2M 64k');
    expect(await mapped('ro', 'fine')).toEqual(fine);
  });

  it('show what is written to a writable export while it is written', async () => {
    await add('rw', { writable: true, bitmaps: ['fine'] });
    expect(await mapped('rw', 'fine')).toEqual([]);
    await write(rig.uri('rw'), '4k 4k');
    expect(await mapped('rw', 'fine')).toEqual([[4 * KiB, 4 * KiB]]);
  });

  it('are listed with sizes, flags and contexts', async () => {
    for (const name of ['coarse', 'fine']) {
      await rig.execute('block-dirty-bitmap-disable', { node: 'disk', name });
    }
    await add('ro', { bitmaps: ['coarse'], description: 'to look at' });
    await add('rw', { writable: true, bitmaps: ['fine'], 'allocation-depth': true });
    const contexts = {
      ro: ['base:allocation', 'qemu:dirty-bitmap:coarse'],
      rw: ['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:fine'],
    };
    const { exports } = JSON.parse(await mustRun('nbdinfo', ['--list', '--json', rig.uri('')]));
    expect(exports).toMatchObject([
      {
        'export-name': 'ro',
        description: 'to look at',
        'export-size': SIZE,
        is_read_only: true,
        can_trim: false,
        can_zero: false,
        contexts: contexts.ro,
      },
      {
        'export-name': 'rw',
        'export-size': SIZE,
        is_read_only: false,
        can_trim: true,
        can_zero: true,
        contexts: contexts.rw,
      },
    ]);
    const listed = await mustRun('qemu-nbd', ['-L', '-k', rig.socket]);
    const [, ro, rw] = listed.split(/ export: /);
    expect(listed).toContain('exports available: 2');
    expect(ro).toMatch(/^'ro'\n {2}description: to look at\n/);
    expect(ro).toMatch(/flags: 0x\w+ \( readonly flush fua df multi cache \)/);
    expect(rw).toMatch(/flags: 0x\w+ \( flush fua trim zeroes df multi cache fast-zero \)/);
    for (const [name, text] of [
      ['ro', ro],
      ['rw', rw],
    ] as const) {
      expect(text).toContain(`size:  ${SIZE}\n`);
      expect(text).toContain(`available meta contexts: ${contexts[name].length}\n`);
      for (const context of contexts[name]) expect(text).toContain(`\n   ${context}\n`);
    }
  });
});
