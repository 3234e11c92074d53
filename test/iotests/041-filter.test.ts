import { expect, it } from 'vitest';
import { startDiskRig } from '../support/disk-rig.ts';
import { describePeers } from '../support/peers.ts';

/** iotest 041: a filter is seen when it was given a name, and a mirror leaves none behind. */
const MiB = 1 << 20;

describePeers('the filter of a mirror', ['qemu-nbd', 'qemu-io', 'qemu-img'], () => {
  it.each([
    [{}, 'source'],
    [{ 'filter-node-name': 'top' }, 'top'],
  ])('%j: clients are shown to be on %s, then on the target', async (given, shown) => {
    const rig = await startDiskRig({ size: MiB });
    const node = async () => {
      const [disk] = (await rig.execute('query-block-exports')) as { 'node-name': string }[];
      return disk!['node-name'];
    };
    const named = async () => {
      const nodes = (await rig.execute('query-named-block-nodes')) as { 'node-name': string }[];
      return nodes.map((one) => one['node-name']).sort();
    };
    const before = await named();
    await rig.mirror(given);
    await rig.ready();
    expect(await node()).toBe(shown);
    expect(await named()).toHaveLength(before.length + 1);
    await rig.execute('job-complete', { id: 'm0' });
    await rig.status('null');
    expect(await node()).toBe('target');
    expect(await named()).toEqual(before);
    // The source is nobody's any more.
    await rig.execute('blockdev-del', { 'node-name': 'source' });
    await rig.io('read 0 1M');
  });
});
