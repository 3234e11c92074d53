import { beforeEach, expect, it } from 'vitest';
import { type DiskRig, startDiskRig } from '../support/disk-rig.ts';
import { describePeers, startQemuNbd } from '../support/peers.ts';

/** iotest 041: mirrors that cannot be. A refusal leaves no job, no event and no filter. */
const MiB = 1 << 20;

describePeers('blockdev-mirror refuses', ['qemu-nbd', 'qemu-img'], () => {
  let rig: DiskRig;
  beforeEach(async () => {
    rig = await startDiskRig({ size: MiB });
  });
  const refused = async (given: object) => {
    const all = { 'job-id': 'm0', device: 'source', target: 'target', sync: 'full', ...given };
    const nodes = await rig.execute('query-named-block-nodes');
    const refusal = await rig.refusal('blockdev-mirror', all);
    expect(await rig.execute('query-jobs')).toEqual([]);
    expect(await rig.execute('query-named-block-nodes')).toEqual(nodes);
    expect(rig.story()).toEqual([]);
    return refusal;
  };

  it('nodes that are not there', async () => {
    const missing = "Cannot find device='nowhere' nor node-name='nowhere'";
    expect(await refused({ device: 'nowhere' })).toBe(missing);
    expect(await refused({ target: 'nowhere' })).toBe(missing);
    expect(await refused({ replaces: 'nowhere' })).toContain("'nowhere'");
  });

  it('a job without a name: no device is there to lend its own', async () => {
    expect(await refused({ 'job-id': undefined })).toBe("Invalid job ID ''");
    expect(await refused({ 'job-id': '1st' })).toBe("Invalid job ID '1st'");
  });

  it('a source as its own target', async () => {
    expect(await refused({ target: 'source' })).toMatch(/itself|is busy|Permission conflict/);
  });

  it('a target that cannot be written to', async () => {
    const readOnly = await startQemuNbd({ file: rig.targetFile, readOnly: true });
    await rig.addNbd('ro', readOnly, { 'read-only': true });
    expect(await refused({ target: 'ro' })).toBe('Block node is read-only');
  });

  it('a negative speed', async () => {
    expect(await refused({ speed: -1 })).toBe("Parameter 'speed' expects a non-negative value");
  });

  it('a target that a client may write to', async () => {
    const disk = { type: 'nbd', id: 'e1', 'node-name': 'target', name: 'copy' };
    await rig.execute('block-export-add', { ...disk, writable: true });
    expect(await refused({})).toMatch(/^Permission conflict on node 'target'/);
    await rig.execute('block-export-del', { id: 'e1' });
    // Readers keep nobody from the pivot.
    await rig.execute('block-export-add', disk);
    await rig.mirror();
    await rig.ready();
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    await rig.compare();
  });

  it('a second mirror into the same target', async () => {
    await rig.mirror({ speed: 65_536 });
    await rig.execute('blockdev-add', { driver: 'x-memory', 'node-name': 'other', size: MiB });
    const again = { 'job-id': 'm1', device: 'other', target: 'target', sync: 'full' };
    expect(await rig.refusal('blockdev-mirror', again)).toBe(
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
    const taken = { 'job-id': 'm0', device: 'source', target: 'other', sync: 'full' };
    expect(await rig.refusal('blockdev-mirror', taken)).toBe("Job ID 'm0' already in use");
  });
});
