import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MemoryNode } from '../../src/block/memory-node.ts';
import {
  BATCHES,
  BitmapSync,
  type CopyMode,
  DISK_BYTES,
  type Failure,
  type OpenTarget,
  type SyncMode,
} from '../support/bitmap-sync.ts';
import { contents } from '../support/mirror-rig.ts';
import { startNbdRig } from '../support/nbd-rig.ts';
import { openNbdNode } from '../support/open-nbd-node.ts';
import { describePeers, startNbdkit, startQemuNbd, tempDir } from '../support/peers.ts';
import { GRANULE } from '../support/qmp-mirror-rig.ts';

/** The sync modes with targets on real NBD servers: a mirror that may fail, and its recovery. */
type Server = 'nbdkit' | 'qemu-nbd' | 'our own';

const SERVERS: Record<Server, OpenTarget> = {
  /** Its error filter fails every write as soon as a file is there. */
  nbdkit: async (name, content) => {
    const trigger = join(await tempDir(), 'fail');
    const { socket } = await startNbdkit([
      '--filter=error',
      'memory',
      String(DISK_BYTES),
      'error-pwrite-rate=100%',
      `error-file=${trigger}`,
    ]);
    const disk = await openNbdNode(socket, { name });
    await disk.write(0, content);
    return { disk, breakWrites: () => writeFileSync(trigger, '') };
  },
  'qemu-nbd': async (name, content) => {
    const file = join(await tempDir(), 'disk');
    await writeFile(file, content);
    const { socket } = await startQemuNbd({ file });
    return { disk: await openNbdNode(socket, { name }) };
  },
  'our own': async (name, content) => {
    const node = new MemoryNode('disk', { size: DISK_BYTES });
    await node.write(0, content);
    const { socket } = await startNbdRig({ node });
    return { disk: await openNbdNode(socket, { name }) };
  },
};

/** Dirty granules after the first mirror, after more writes, and after the second mirror. */
type Counts = readonly [number, number, number];
const ROWS: readonly [SyncMode, Failure, Server, CopyMode, Counts][] = [
  ['always', 'none', 'nbdkit', 'background', [0, 7, 0]],
  ['always', 'cancel in pending', 'qemu-nbd', 'write-blocking', [0, 7, 0]],
  ['always', 'read error', 'our own', 'background', [5, 9, 0]],
  ['always', 'write error', 'nbdkit', 'write-blocking', [5, 9, 0]],
  ['never', 'none', 'qemu-nbd', 'write-blocking', [6, 10, 15]],
  ['never', 'cancel in pending', 'our own', 'background', [6, 10, 15]],
  ['never', 'read error', 'nbdkit', 'write-blocking', [6, 10, 15]],
  ['never', 'write error', 'nbdkit', 'background', [6, 10, 15]],
  ['on-success', 'none', 'our own', 'write-blocking', [0, 7, 0]],
  ['on-success', 'cancel in pending', 'nbdkit', 'background', [6, 10, 0]],
  ['on-success', 'read error', 'qemu-nbd', 'write-blocking', [6, 10, 0]],
  ['on-success', 'write error', 'qemu-nbd', 'background', [6, 10, 0]],
];

describePeers('a mirror to a real NBD server', ['nbdkit', 'qemu-nbd'], () => {
  it.each(ROWS)('%s, %s, %s, %s', async (mode, failure, server, copyMode, counts) => {
    const sync = new BitmapSync(mode, copyMode, SERVERS[server]);
    const base = await sync.begin();
    await sync.write(BATCHES[0]!);
    const first = await sync.mirror(base, { failure });
    expect(await sync.dirty()).toBe(counts[0]);
    await sync.write(BATCHES[1]!);
    expect(await sync.dirty()).toBe(counts[1]);
    const kept = mode === 'always' || (mode === 'on-success' && failure === 'none');
    const second = await sync.mirror(kept ? first : base, {
      atReady: async ({ ready }) => {
        expect(ready.len).toBe(counts[1] * GRANULE);
        await sync.write(BATCHES[2]!);
      },
    });
    expect(second.equals(await contents(sync.rig.source.disk))).toBe(true);
    expect(await sync.dirty()).toBe(counts[2]);
  });
});
