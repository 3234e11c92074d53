import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeImage } from '../support/nbd-mirror.ts';
import { describePeers, startQemuNbd, tempDir } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { type QmpRig, startQmpRig } from '../support/qmp-rig.ts';

/** iotest nbd-multiconn: CAN_MULTI_CONN, what it promises, and who may count on it. */
const MiB = 1 << 20;

const tools = ['nbdinfo', 'nbdsh', 'qemu-nbd', 'qemu-io'];

describePeers('several connections to one disk', tools, () => {
  const startExport = async (server: object, writable: boolean): Promise<QmpRig> => {
    const rig = await startQmpRig();
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'disk', size: MiB });
    await rig.startNbdServer(server);
    const given = { type: 'nbd', id: 'e0', 'node-name': 'disk', writable };
    await rig.execute('block-export-add', given);
    return rig;
  };

  it.each([
    [{}, false, true],
    [{}, true, true],
    [{ 'max-connections': 0 }, true, true],
    [{ 'max-connections': 1 }, false, false],
    [{ 'max-connections': 1 }, true, false],
  ])('are offered by a server %j, writable %j: %j', async (server, writable, offered) => {
    const rig = await startExport(server, writable);
    const { exports } = JSON.parse(await mustRun('nbdinfo', ['--json', rig.uri('disk')]));
    expect(exports[0]).toMatchObject({ is_read_only: !writable, can_multi_conn: offered });
  });

  it('see on a third what was written on one and flushed on another', async () => {
    const rig = await startExport({}, true);
    const script = `
import nbd
one, two, three = nbd.NBD(), nbd.NBD(), nbd.NBD()
for each in (one, two, three):
    each.connect_uri("${rig.uri('disk')}")
    assert each.can_multi_conn()
assert three.pread(4096, 0) == bytearray(4096)
one.pwrite(b'1' * 4096, 0)
two.flush()
assert three.pread(4096, 0) == b'1' * 4096
two.zero(1024, 0)
assert one.pread(1024, 0) == bytearray(1024)
for each in (one, two, three):
    each.shutdown()
`;
    await mustRun('/usr/bin/python3', ['-c', script]);
  });

  it('are not what a mirror needs: a target that takes one client will do', async () => {
    const file = join(await tempDir(), 'target.raw');
    await makeImage(file, MiB);
    const target = await startQemuNbd({ file, shared: 1 });
    const rig = await startExport({}, true);
    const server = { type: 'unix', path: target.socket };
    await rig.execute('blockdev-add', { driver: 'nbd', 'node-name': 'copy', server });
    const mirror = { 'job-id': 'm0', device: 'disk', target: 'copy', sync: 'full' };
    await rig.execute('blockdev-mirror', { ...mirror, 'copy-mode': 'write-blocking' });
    await rig.qmp.event('BLOCK_JOB_READY');
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 64k', rig.uri('disk')]);
    await rig.execute('job-complete', { id: 'm0' });
    await rig.qmp.event('BLOCK_JOB_COMPLETED', (data) => data['error'] === undefined);
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'read -P 7 0 64k', rig.uri('disk')]);
  });
});
