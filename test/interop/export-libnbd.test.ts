import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { makeSparseFile, startFileRig } from '../support/file-rig.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { describePeers, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

describePeers('libnbd with our export', ['nbdinfo', 'nbdcopy'], () => {
  it('nbdinfo sees what is offered', async () => {
    const { uri } = await startNbdRig({ export: { name: 'disk', description: 'the disk' } });
    const [info] = JSON.parse(await mustRun('nbdinfo', ['--json', uri])).exports;
    expect(info).toMatchObject({
      'export-name': 'disk',
      description: 'the disk',
      'export-size': 4 * MiB,
      contexts: ['base:allocation'],
      is_read_only: false,
      can_cache: true,
      can_df: true,
      can_fast_zero: true,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 64 * MiB,
    });
  });

  it('nbdinfo lists the exports', async () => {
    const rig = await startNbdRig({ export: { name: 'first' } });
    const use = rig.graph.use(rig.node, { kind: 'export', name: 'second' }, { writable: false });
    rig.server.addExport({ id: 'second', name: 'second', writable: false, use });
    const { exports } = JSON.parse(await mustRun('nbdinfo', ['--list', '--json', rig.uri]));
    const listed = exports.map((one: Record<string, unknown>) => [
      one['export-name'],
      one['is_read_only'],
    ]);
    expect(listed).toEqual([
      ['first', false],
      ['second', true],
    ]);
  });

  it('nbdinfo maps data and holes', async () => {
    const { uri, node } = await startNbdRig();
    await node.write(1 * MiB, Buffer.alloc(64 * 1024, 1));
    const map = JSON.parse(await mustRun('nbdinfo', ['--map', '--json', uri]));
    expect(
      map.map(({ offset, length, type }: Record<string, number>) => [offset, length, type]),
    ).toEqual([
      [0, 1 * MiB, 3],
      [1 * MiB, 64 * 1024, 0],
      [1 * MiB + 64 * 1024, 3 * MiB - 64 * 1024, 3],
    ]);
  });

  it.each([[[]], [['--synchronous']], [['--connections=1', '--requests=1']]])(
    'nbdcopy %j copies from it and to it',
    async (options) => {
      const { uri, filename } = await startFileRig(24 * MiB + 512);
      const copy = join(await tempDir(), 'copy.raw');
      await mustRun('nbdcopy', [...options, uri, copy]);
      expect((await readFile(copy)).equals(await readFile(filename))).toBe(true);
      const other = join(await tempDir(), 'other.raw');
      await makeSparseFile(other, 24 * MiB + 512);
      await mustRun('nbdcopy', [...options, '--flush', other, uri]);
      expect((await readFile(filename)).equals(await readFile(other))).toBe(true);
    },
  );
});
