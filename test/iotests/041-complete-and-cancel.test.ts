import { expect, it } from 'vitest';
import { CANCELLED, COMPLETED, READY, STARTED, startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

/** iotest 041: where clients are after the end of a mirror, and what the target holds. */
const MiB = 1 << 20;
const TOOLS = ['qemu-nbd', 'qemu-io', 'qemu-img'];

/** What the client wrote last has reached this file. */
const expectLatest = (file: string) =>
  mustRun('qemu-io', ['-r', '-U', '-f', 'raw', '-c', 'read -P 0x77 1M 64k', file]);

describePeers('a mirror to an NBD server', TOOLS, () => {
  it.each(['job-complete', 'block-job-complete'])(
    '%s moves clients to the target',
    async (verb) => {
      const rig = await startDiskRig({ size: 4 * MiB });
      await rig.mirror();
      await rig.ready();
      await rig.execute(verb, verb === 'job-complete' ? { id: 'm0' } : { device: 'm0' });
      await rig.status('null');
      expect(rig.story()).toEqual([...STARTED, ...READY, ...COMPLETED]);
      const [disk] = (await rig.execute('query-block-exports')) as { 'node-name': string }[];
      expect(disk!['node-name']).toBe('target');
      await rig.compare();
      await rig.io('write -P 0x77 1M 64k', 'flush');
      await expectLatest(rig.targetFile);
      await expect(rig.compare()).rejects.toThrow('Content mismatch');
    },
  );

  it('keeps them at the source when it is cancelled by force before READY', async () => {
    const rig = await startDiskRig({ size: 4 * MiB });
    await rig.mirror({ speed: 65_536 });
    await rig.execute('block-job-cancel', { device: 'm0', force: true });
    await rig.status('null');
    expect(rig.story()).toEqual([...STARTED, ...CANCELLED]);
    await rig.io('write -P 0x77 1M 64k');
    await expectLatest(rig.sourceFile);
  });

  it('keeps them at the source when it is cancelled after READY, the target equal', async () => {
    const rig = await startDiskRig({ size: 4 * MiB });
    await rig.mirror();
    await rig.ready();
    await rig.io('write -P 0x66 2M 64k');
    await rig.execute('block-job-cancel', { device: 'm0' });
    await rig.status('null');
    expect(rig.story()).toEqual([...STARTED, ...READY, ...COMPLETED]);
    await rig.compare();
    await rig.io('write -P 0x77 1M 64k');
    await expectLatest(rig.sourceFile);
    await expect(rig.compare()).rejects.toThrow('Content mismatch');
  });
});
