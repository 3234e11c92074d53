import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

const KiB = 1024;
let rig: MonitorRig;
let directory: string;
let image: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nbd-mirror-test-'));
  image = join(directory, 'a.img');
  await writeFile(image, Buffer.alloc(256 * KiB, 'x'));
  rig = makeMonitorRig();
  await add('file', 'a', { filename: image });
});
afterEach(async () => {
  await rig.close();
  await rm(directory, { recursive: true });
});

const run = (command: string, given: object) => rig.dispatcher.execute(command, given);
const add = (driver: string, name: string, more: object) =>
  run('blockdev-add', { driver, 'node-name': name, ...more });
const resize = (name: string, kib: number) =>
  run('block_resize', { 'node-name': name, size: kib * KiB });
const node = (name: string) => rig.storage.graph.find(name)!;
const serve = () =>
  run('nbd-server-start', { addr: { type: 'unix', data: { path: join(directory, 's') } } });

describe('block_resize', () => {
  it.each([
    ['a file', async () => 'a'],
    ['memory', () => add('x-memory', 'm', { size: 256 * KiB }).then(() => 'm')],
    ['a raw node', () => add('raw', 'r', { file: 'a' }).then(() => 'r')],
    [
      'a throttle node',
      async () => {
        await run('object-add', { 'qom-type': 'throttle-group', id: 'tg' });
        await add('throttle', 't', { 'throttle-group': 'tg', file: 'a' });
        return 't';
      },
    ],
  ])('makes %s shorter and longer; what comes back is zero', async (_what, make) => {
    const name = await make();
    await node(name).write(0, Buffer.alloc(256 * KiB, 'y'));
    await resize(name, 100);
    expect(node(name).size).toBe(100 * KiB);
    await resize(name, 300);
    const back = Buffer.alloc(300 * KiB);
    await node(name).read(0, back);
    expect(
      back.equals(Buffer.concat([Buffer.alloc(100 * KiB, 'y'), Buffer.alloc(200 * KiB)])),
    ).toBe(true);
    const [extent] = await node(name).blockStatus(299 * KiB, KiB, 1);
    expect(extent!.zero).toBe(true);
    if (name !== 'm') expect((await stat(image)).size).toBe(300 * KiB);
  });

  it('makes the bitmaps of all nodes of the disk follow', async () => {
    await add('raw', 'r', { file: 'a' });
    for (const name of ['a', 'r']) {
      await run('block-dirty-bitmap-add', { node: name, name: 'b' });
    }
    await node('r').write(200 * KiB, Buffer.alloc(1));
    await resize('r', 128);
    await resize('r', 512);
    for (const name of ['a', 'r']) {
      const bitmap = node(name).findBitmap('b')!;
      expect([bitmap.size, bitmap.count]).toEqual([512 * KiB, 0]);
    }
    await node('r').write(500 * KiB, Buffer.alloc(1));
    for (const name of ['a', 'r']) expect(node(name).findBitmap('b')!.count).toBe(64 * KiB);
  });

  it('is refused while a bitmap is in use', async () => {
    await run('block-dirty-bitmap-add', { node: 'a', name: 'b' });
    node('a').findBitmap('b')!.busy = true;
    await expect(resize('a', 128)).rejects.toThrow(
      "Bitmap 'b' is currently in use by another operation and cannot be used",
    );
  });

  it('is refused while an export shows the disk, also through another node', async () => {
    await serve();
    await add('raw', 'r', { file: 'a' });
    await run('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'r' });
    await expect(resize('a', 128)).rejects.toThrow("Permission conflict on node 'r'");
  });

  it('is refused for the source, the target and the filter of a mirror', async () => {
    await add('x-memory', 'm', { size: 256 * KiB });
    await run('blockdev-mirror', {
      'job-id': 'm0',
      device: 'a',
      target: 'm',
      sync: 'full',
      'filter-node-name': 'top',
    });
    for (const name of ['a', 'm', 'top']) {
      await expect(resize(name, 512)).rejects.toThrow(`Node '${name}' is busy`);
    }
    await run('job-cancel', { id: 'm0' });
  });

  it('keeps a mirror and an export away until it is done', async () => {
    await add('x-memory', 'm', { size: 256 * KiB });
    await serve();
    let go = () => {};
    const disk = node('a');
    const truncate = disk.resize.bind(disk);
    disk.resize = async (size) => {
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      await truncate(size);
    };
    const resized = resize('a', 128);
    const mirror = { 'job-id': 'm0', device: 'a', target: 'm', sync: 'full' };
    await expect(run('blockdev-mirror', mirror)).rejects.toThrow("Node 'a' is busy: block device");
    const shown = { type: 'nbd', id: 'e', 'node-name': 'a' };
    await expect(run('block-export-add', shown)).rejects.toThrow("Node 'a' is busy: block device");
    go();
    await resized;
    await run('block-export-add', shown);
  });

  it('does not cut a window off', async () => {
    await add('raw', 'w', { file: 'a', offset: 64 * KiB, size: 64 * KiB });
    await expect(resize('w', 32)).rejects.toThrow('Cannot resize fixed-size raw disks');
    await expect(resize('a', 100)).rejects.toThrow('is a window on the disk, which cannot shrink');
    await resize('a', 512);
    expect(node('w').size).toBe(64 * KiB);
  });

  it('leaves a server its size', async () => {
    await serve();
    await run('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'a', writable: true });
    await add('nbd', 'n', { server: { type: 'unix', path: join(directory, 's') }, export: 'a' });
    await expect(resize('n', 512)).rejects.toThrow('Cannot grow NBD nodes');
    await expect(resize('n', 128)).rejects.toThrow('Cannot resize NBD nodes');
    await resize('n', 256);
  });

  it('does not change a file that may not be written to', async () => {
    await run('blockdev-del', { 'node-name': 'a' });
    await add('file', 'ro', { filename: image, 'read-only': true });
    await expect(resize('ro', 512)).rejects.toThrow('Image is read-only');
  });
});
