import { readFile, stat, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Arguments } from '../../protocol/qmp/schema.ts';
import { ZERO_MAY_UNMAP } from '../../src/block/node.ts';
import { contents, pattern } from '../support/mirror-rig.ts';
import {
  describePeers,
  startNbdkit,
  startNbdServer,
  startProcess,
  startQemuNbd,
  tempDir,
} from '../support/peers.ts';
import { freePort } from '../support/process.ts';
import { QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

const MiB = 1 << 20;
const SIZE = 8 * MiB;

type Given = Arguments<'drive-mirror'>;

/** A source with half of it written. */
async function makeRig(): Promise<QmpMirrorRig> {
  const rig = new QmpMirrorRig({ size: SIZE });
  await rig.source.write(0, pattern(SIZE / 2, 1));
  return rig;
}

function drive(rig: QmpMirrorRig, target: string, given: Partial<Given> = {}) {
  return rig.call('drive-mirror', {
    'job-id': 'm0',
    device: 'source',
    target,
    sync: 'full',
    ...given,
  });
}

async function newFile(): Promise<string> {
  const file = join(await tempDir(), 'target.raw');
  await writeFile(file, Buffer.alloc(SIZE));
  return file;
}

const named = (rig: QmpMirrorRig, name: string) => rig.monitor.storage.graph.find(name);

/** Names of nodes that were made for a job: all but those of the rig. */
async function jobsNodes(rig: QmpMirrorRig): Promise<string[]> {
  const nodes = await rig.call('query-named-block-nodes');
  return nodes
    .map((node) => node['node-name'] ?? '')
    .filter((name) => !['source', 'target'].includes(name));
}

/** Runs a mirror from READY to an end that leaves the target as a copy. */
async function end(rig: QmpMirrorRig): Promise<void> {
  await rig.told('BLOCK_JOB_READY');
  await rig.call('block-job-cancel', { device: 'm0' });
  await rig.status('null');
}

describePeers('drive-mirror to qemu-nbd', ['qemu-nbd'], () => {
  it('takes every form of an address', async () => {
    const file = await newFile();
    const port = await freePort();
    const { socket } = await startQemuNbd({ file, exportName: 'my disk' });
    const other = await newFile();
    const tcp = ['--persistent', '-p', `${port}`, '-b', '127.0.0.1', '-f', 'raw', '-x', 'disk'];
    await startProcess('qemu-nbd', [...tcp, other], { readyPort: port });
    for (const [uri, copy] of [
      [`nbd+unix:///my%20disk?socket=${socket}`, file],
      [`nbd:unix:${socket}:exportname=my disk`, file],
      [`nbd://127.0.0.1:${port}/disk`, other],
      [`nbd:127.0.0.1:${port}:exportname=disk`, other],
    ] as const) {
      await writeFile(copy, Buffer.alloc(SIZE), { flag: 'r+' });
      const rig = await makeRig();
      await drive(rig, uri, { mode: 'existing', format: 'raw' });
      await end(rig);
      expect((await readFile(copy)).equals(await contents(rig.source)), uri).toBe(true);
      expect(await jobsNodes(rig)).toEqual([]);
    }
  });

  const hasIpv6 = networkInterfaces()['lo']?.some(({ address }) => address === '::1') ?? false;
  it.skipIf(!hasIpv6)('takes IPv6 in both forms', async () => {
    const file = await newFile();
    const port = await freePort();
    const tcp = ['--persistent', '-p', `${port}`, '-b', '::1', '-f', 'raw', '-x', 'disk', file];
    await startProcess('qemu-nbd', tcp, { readyPort: port });
    for (const uri of [`nbd://[::1]:${port}/disk`, `nbd:[::1]:${port}:exportname=disk`]) {
      await writeFile(file, Buffer.alloc(SIZE), { flag: 'r+' });
      const rig = await makeRig();
      await drive(rig, uri, { mode: 'existing', format: 'raw' });
      await end(rig);
      expect((await readFile(file)).equals(await contents(rig.source)), uri).toBe(true);
    }
  });

  it('copies all of the disk as its top, holes included', async () => {
    const file = await newFile();
    await writeFile(file, pattern(SIZE, 7));
    const { uri } = await startQemuNbd({ file });
    const rig = await makeRig();
    await drive(rig, uri, { sync: 'top' });
    await end(rig);
    expect((await readFile(file)).equals(await contents(rig.source))).toBe(true);
  });

  it('takes a bitmap with all of the disk alone, by whatever name', async () => {
    const { uri } = await startQemuNbd({ file: await newFile() });
    const rig = await makeRig();
    await rig.addBitmap('b', 1);
    await expect(drive(rig, uri, { sync: 'top', bitmap: 'b' })).rejects.toThrow(
      "Sync mode 'top' not supported with bitmap.",
    );
    expect(await jobsNodes(rig)).toEqual([]);
  });

  it('leaves the node to the clients that were moved to it', async () => {
    const file = await newFile();
    const { uri } = await startQemuNbd({ file });
    const rig = await makeRig();
    await drive(rig, uri, { 'node-name': 'there', format: 'raw' });
    await rig.told('BLOCK_JOB_READY');
    await rig.call('job-complete', { id: 'm0' });
    await rig.status('null');
    expect(rig.client.node).toBe(named(rig, 'there'));
    await rig.client.node.write(6 * MiB, pattern(100, 9));
    await rig.client.node.flush();
    expect((await readFile(file)).subarray(6 * MiB, 6 * MiB + 100)).toEqual(pattern(100, 9));
    await expect(rig.call('blockdev-del', { 'node-name': 'there' })).rejects.toThrow('in use');
    rig.client.release();
    await rig.call('blockdev-del', { 'node-name': 'there' });
    expect(await jobsNodes(rig)).toEqual([]);
  });

  it.each(['ignore', 'unmap'] as const)('has discard %s, as the source has', async (discard) => {
    const { uri } = await startQemuNbd({ file: await newFile() });
    const rig = await makeRig();
    rig.source.space = { discard, detectZeroes: 'on' };
    await drive(rig, uri, { 'node-name': 'there', format: 'raw' });
    const there = named(rig, 'there');
    expect(there?.space).toEqual({ discard, detectZeroes: 'off' });
    // The node on top decides.
    expect(there?.child?.space).toEqual({ discard: 'unmap', detectZeroes: 'off' });
    await end(rig);
  });

  it('gives no storage back when unmap is false', async () => {
    const bytesOf = async (unmap: boolean): Promise<number> => {
      const file = await newFile();
      await writeFile(file, pattern(SIZE, 3));
      const { uri } = await startQemuNbd({ file, args: ['--discard=unmap'] });
      const rig = await makeRig();
      // Zeroes that were written as data.
      await rig.source.write(2 * MiB, Buffer.alloc(MiB));
      await drive(rig, uri, { unmap, 'copy-mode': 'write-blocking' });
      await rig.told('BLOCK_JOB_READY');
      await rig.client.node.discard(0, MiB);
      await rig.client.node.writeZeroes(MiB, MiB, ZERO_MAY_UNMAP);
      await end(rig);
      expect((await readFile(file)).equals(await contents(rig.source))).toBe(true);
      // In whole MiB: what is left over is the file system's own, a map of the file's extents.
      return Math.floor(((await stat(file)).blocks * 512) / MiB) * MiB;
    };
    expect(await bytesOf(false)).toBe(SIZE);
    expect(await bytesOf(true)).toBe(SIZE / 2 - 3 * MiB);
  });
});

describePeers('drive-mirror to nbd-server', ['nbd-server'], () => {
  it('copies', async () => {
    const file = await newFile();
    const { uri } = await startNbdServer({ file });
    const rig = await makeRig();
    await drive(rig, uri);
    await end(rig);
    expect((await readFile(file)).equals(await contents(rig.source))).toBe(true);
  });
});

describePeers('drive-mirror to nbdkit', ['nbdkit'], () => {
  /** A server in memory, and a log that says when connections come and go. */
  async function startLogged(...args: string[]) {
    const log = join(await tempDir(), 'log');
    const filters = [...args.filter((arg) => arg.startsWith('--')), '--filter=log'];
    const settings = args.filter((arg) => !arg.startsWith('--'));
    const peer = await startNbdkit([
      ...filters,
      'memory',
      `${SIZE}`,
      `logfile=${log}`,
      ...settings,
    ]);
    const count = async (verb: string) =>
      (await readFile(log, 'utf8')).split(` ${verb} `).length - 1;
    const expectNoConnection = () =>
      expect.poll(async () => (await count('Connect')) - (await count('Disconnect'))).toBe(0);
    return { ...peer, count, expectNoConnection };
  }

  it.each(['cancel', 'end'] as const)('closes the connection after the %s', async (how) => {
    const { uri, count, expectNoConnection } = await startLogged();
    const rig = await makeRig();
    await drive(rig, uri, { format: 'raw' });
    if (how === 'end') await end(rig);
    else {
      await rig.call('job-cancel', { id: 'm0' });
      await rig.status('null');
    }
    await expect.poll(() => jobsNodes(rig)).toEqual([]);
    await expectNoConnection();
    expect(await count('Connect')).toBeGreaterThan(0);
  });

  it('leaves no node and no connection when it refuses', async () => {
    const { uri, count, expectNoConnection } = await startLogged();
    const rig = await makeRig();
    await expect(drive(rig, uri, { granularity: 100 })).rejects.toThrow("Parameter 'granularity'");
    await expect(drive(rig, uri, { bitmap: 'no' })).rejects.toThrow("Dirty bitmap 'no' not found");
    expect(await jobsNodes(rig)).toEqual([]);
    expect(named(rig, 'source')).toBe(rig.source);
    await expectNoConnection();
    expect(await count('Connect')).toBeGreaterThan(0);
  });

  it('says that the source is busy before it connects', async () => {
    const rig = await makeRig();
    rig.monitor.storage.graph.block(rig.source, 'it is being changed', 'everybody');
    const busy = "Node 'source' is busy: it is being changed";
    await expect(drive(rig, 'nbd+unix:///?socket=/nobody')).rejects.toThrow(busy);
  });

  it('looks for the source again when the target is open', async () => {
    const { uri } = await startLogged('--filter=delay', 'delay-open=1');
    const rig = await makeRig();
    await rig.call('blockdev-add', { driver: 'x-memory', 'node-name': 'short', size: SIZE });
    const started = drive(rig, uri, { device: 'short', 'node-name': 't' });
    await rig.call('blockdev-del', { 'node-name': 'short' });
    // The name of the node is taken from the first moment on.
    const same = rig.call('blockdev-add', { driver: 'x-memory', 'node-name': 't', size: SIZE });
    await expect(same).rejects.toThrow("Duplicate nodes with node-name='t'");
    await expect(started).rejects.toThrow("Cannot find device='short' nor node-name='short'");
    expect(await jobsNodes(rig)).toEqual([]);
  });

  it('starts from a working bitmap', async () => {
    const { uri, count } = await startLogged();
    const rig = await makeRig();
    const bitmap = await rig.addBitmap('b', 3);
    await drive(rig, uri, { bitmap: 'b' });
    expect(bitmap.busy).toBe(true);
    await end(rig);
    expect(bitmap).toMatchObject({ busy: false, enabled: true, isClean: true });
    expect(await count('Write')).toBe(1);
  });

  it('writes whole clusters when it is told their size', async () => {
    const { uri, count } = await startLogged();
    const rig = await makeRig();
    await rig.addBitmap('b');
    await drive(rig, uri, {
      bitmap: 'b',
      'copy-mode': 'write-blocking',
      'x-target-cluster-size': MiB,
    });
    await rig.told('BLOCK_JOB_READY');
    await rig.client.node.write(2 * MiB + 512, pattern(512, 4));
    expect(await count('Write')).toBe(1);
    expect(await count(`offset=0x${(2 * MiB).toString(16)} count=0x${MiB.toString(16)}`)).toBe(1);
    await end(rig);
  });

  it('lets go of a server that hangs when it is cancelled by force', async () => {
    const { uri } = await startLogged('--filter=delay', 'wdelay=600');
    const rig = await makeRig();
    await drive(rig, uri);
    await expect.poll(() => rig.source.log.some((entry) => entry.startsWith('read'))).toBe(true);
    await rig.call('job-cancel', { id: 'm0' });
    await rig.status('null');
    await expect.poll(() => jobsNodes(rig)).toEqual([]);
  });
});

describePeers('what drive-mirror does not take', [], () => {
  it.each([
    ['/tmp/disk.raw', "Cannot mirror to '/tmp/disk.raw': drive-mirror takes nbd://"],
    ['json:{"driver":"nbd"}', 'other disks are added by blockdev-add'],
    ['https://127.0.0.1/disk', 'drive-mirror takes nbd://'],
    ['nbds://127.0.0.1/disk', 'TLS is not supported'],
    ['nbd+vsock://1/disk', 'vsock sockets are not supported'],
    ['nbd+unix:///disk', '?socket=PATH is missing'],
    ['nbd:127.0.0.1', 'it does not look like nbd:host:port'],
  ])('%s', async (target, message) => {
    const rig = await makeRig();
    await expect(drive(rig, target)).rejects.toThrow(message);
    expect(await jobsNodes(rig)).toEqual([]);
  });
});
