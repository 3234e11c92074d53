import { expect, it } from 'vitest';
import { COMPLETED, READY, STARTED, startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/**
 * iotest 109: a source whose first bytes look like an image format. QEMU protects a raw target that
 * it probed from such a first sector; nothing is probed here, a disk is bytes. So what QEMU does
 * with an explicit `raw` holds for all of them.
 */
const MiB = 1 << 20;
const HEADERS: readonly [name: string, head: Buffer][] = [
  ['qcow2', Buffer.from('QFI\xfb\0\0\0\x03', 'latin1')],
  ['vmdk', Buffer.from('KDMV\x01\0\0\0', 'latin1')],
  ['vpc', Buffer.from('conectix')],
  ['vhdx', Buffer.from('vhdxfile')],
  ['vdi', Buffer.from('<<< QEMU VM Virtual Disk Image >>>\n')],
  ['qed', Buffer.from('QED\0')],
  ['parallels', Buffer.from('WithoutFreeSpace')],
  ['luks', Buffer.from('LUKS\xba\xbe\0\x01', 'latin1')],
  ['a master boot record', Buffer.concat([Buffer.alloc(510), Buffer.from([0x55, 0xaa])])],
];

describePeers('a mirror of what begins as', ['qemu-nbd', 'qemu-img'], () => {
  it.each(HEADERS)('%s tells its story in order and is copied as it is', async (_name, head) => {
    const rig = await startDiskRig({ size: MiB, content: head });
    await rig.mirror();
    await rig.ready();
    expect(await rig.job()).toMatchObject({
      'actively-synced': false,
      ready: true,
      status: 'ready',
      'io-status': 'ok',
    });
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    expect(rig.story()).toEqual([...STARTED, ...READY, ...COMPLETED]);
    await rig.compare();
  });
});
