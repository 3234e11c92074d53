import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage } from '../support/nbd-mirror.ts';
import { tempDir } from '../support/peers.ts';
import { startQmpRig } from '../support/qmp-rig.ts';

/**
 * iotest mirror-top-perms, as far as it applies: while a disk is mirrored nobody else gets it for
 * writing, neither a second server nor a second user inside this one. (Ours is one lock of the
 * whole file against other writers of our kind: QEMU's tools, which only look, are let in.)
 */
it('a disk that is being mirrored, and its target, belong to the mirror', async () => {
  const directory = await tempDir();
  const files = { disk: join(directory, 'disk.raw'), copy: join(directory, 'copy.raw') };
  const rig = await startQmpRig();
  for (const [name, filename] of Object.entries(files)) {
    await makeImage(filename, 1 << 20, Buffer.from(name));
    await rig.execute('blockdev-add', { driver: 'file', 'node-name': name, filename });
  }
  await rig.startNbdServer();
  const mirror = { 'job-id': 'm0', device: 'disk', target: 'copy', sync: 'full' };
  await rig.execute('blockdev-mirror', { ...mirror, 'filter-node-name': 'top' });
  await rig.qmp.event('BLOCK_JOB_READY');

  const other = await startQmpRig();
  for (const filename of Object.values(files)) {
    for (const readOnly of [false, true]) {
      const file = { driver: 'file', 'node-name': 'mine', filename, 'read-only': readOnly };
      expect(await other.refusal('blockdev-add', file)).toContain('"write" lock');
    }
  }
  const given = { type: 'nbd', id: 'e0', 'node-name': 'copy', writable: true };
  expect(await rig.refusal('block-export-add', given)).toContain("Node 'copy' is busy");
  for (const name of ['disk', 'copy', 'top']) {
    await rig.refusal('blockdev-del', { 'node-name': name });
  }

  await rig.execute('block-job-cancel', { device: 'm0' });
  await rig.qmp.event('BLOCK_JOB_COMPLETED', (data) => data['error'] === undefined);
  for (const name of ['disk', 'copy']) await rig.execute('blockdev-del', { 'node-name': name });
  await other.execute('blockdev-add', {
    driver: 'file',
    'node-name': 'mine',
    filename: files.disk,
  });
});
