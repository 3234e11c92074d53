import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ThrottleNode } from '../../../src/block/throttle-node.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

const SIZE = 256 * 1024;
let rig: MonitorRig;
let directory: string;
let image: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nbd-mirror-test-'));
  image = join(directory, 'a.img');
  await writeFile(image, Buffer.alloc(SIZE, 'x'));
  rig = makeMonitorRig();
  await run('blockdev-add', file({}));
});
afterEach(async () => {
  await rig.close();
  await rm(directory, { recursive: true });
});

const run = (command: string, given: object) => rig.dispatcher.execute(command, given);
const file = (more: object) => ({ driver: 'file', 'node-name': 'a', filename: image, ...more });
const memory = (name: string) => ({ driver: 'x-memory', 'node-name': name, size: SIZE });
const reopen = (...options: object[]) => run('blockdev-reopen', { options });
const node = (name: string) => rig.storage.graph.find(name)!;
const isHole = async (offset: number) => (await node('a').blockStatus(offset, 4096, 1))[0]!.hole;

describe('blockdev-reopen', () => {
  it('makes a file read-only and writable again', async () => {
    await reopen(file({ 'read-only': true }));
    expect(() => node('a').write(0, Buffer.alloc(1))).toThrow('it is read-only');
    await reopen(file({}));
    await node('a').write(0, Buffer.alloc(1));
  });

  describe('of a file that was opened read-only', () => {
    const another = (options: object) =>
      run('blockdev-add', file({ 'node-name': 'b', ...options }));

    beforeEach(async () => {
      await run('blockdev-del', { 'node-name': 'a' });
      await run('blockdev-add', file({ 'read-only': true }));
    });

    it('makes it writable, and read-only again', async () => {
      await reopen(file({}));
      await node('a').write(0, Buffer.from('new'));
      expect((await readFile(image)).subarray(0, 4).toString()).toBe('newx');
      await expect(another({ 'read-only': true })).rejects.toThrow('"write" lock');
      await reopen(file({ 'read-only': true }));
      expect(() => node('a').write(0, Buffer.alloc(1))).toThrow('it is read-only');
      await another({ 'read-only': true });
    });

    it('refuses while somebody else has it, and stays as it was', async () => {
      await another({ 'read-only': true });
      await expect(reopen(file({}))).rejects.toThrow('Failed to get "write" lock');
      await run('blockdev-del', { 'node-name': 'b' });
      expect(() => node('a').write(0, Buffer.alloc(1))).toThrow('it is read-only');
      const data = Buffer.alloc(1);
      await node('a').read(0, data);
      expect(data.toString()).toBe('x');
      await expect(another({})).rejects.toThrow('"write" lock');
    });

    it('refuses when the name stands for another file', async () => {
      await rename(image, `${image}.old`);
      await writeFile(image, Buffer.alloc(SIZE));
      await expect(reopen(file({}))).rejects.toThrow('it is another file by now');
      await rm(image);
      await expect(reopen(file({}))).rejects.toThrow('No such file');
    });

    it('leaves no descriptor behind', async () => {
      const open = () => readdirSync('/proc/self/fd').length;
      const before = open();
      for (let times = 0; times < 5; times++) {
        await reopen(file({}));
        await reopen(file({ 'read-only': true }));
      }
      expect(open()).toBe(before);
    });

    it('leaves no descriptor behind when it refuses', async () => {
      const open = () => readdirSync('/proc/self/fd').length;
      await rename(image, `${image}.old`);
      await writeFile(image, Buffer.alloc(SIZE));
      const before = open();
      await expect(reopen(file({}))).rejects.toThrow('it is another file by now');
      expect(open()).toBe(before);
    });
  });

  it('tells a file anew what becomes of discards', async () => {
    await node('a').discard(0, 65_536);
    expect(await isHole(0)).toBe(false);
    await reopen(file({ discard: 'unmap' }));
    await node('a').discard(0, 65_536);
    expect(await isHole(0)).toBe(true);
  });

  it('tells any node anew what becomes of space, and takes that back', async () => {
    const raw = { driver: 'raw', 'node-name': 'r', file: 'a' };
    await run('blockdev-add', raw);
    const unmap = { discard: 'unmap', 'detect-zeroes': 'on' };
    await reopen({ ...raw, ...unmap }, file(unmap));
    await expect(reopen(raw, file({ 'detect-zeroes': 'unmap' }))).rejects.toThrow(
      'setting detect-zeroes to unmap is not allowed',
    );
    for (const name of ['a', 'r']) {
      expect(node(name).space).toEqual({ discard: 'unmap', detectZeroes: 'on' });
    }
    await reopen(raw);
    expect(node('r').space).toEqual({ discard: 'ignore', detectZeroes: 'off' });
  });

  it('moves a throttle node to another group', async () => {
    for (const id of ['one', 'two']) await run('object-add', { 'qom-type': 'throttle-group', id });
    const throttle = (group: string) => ({
      driver: 'throttle',
      'node-name': 't',
      'throttle-group': group,
      file: 'a',
    });
    await run('blockdev-add', throttle('one'));
    await reopen(throttle('two'));
    expect((node('t') as ThrottleNode).group.name).toBe('two');
    await run('object-del', { id: 'one' });
  });

  it('changes all of the list or nothing', async () => {
    await run('blockdev-add', memory('m'));
    await expect(
      reopen(file({ 'read-only': true, discard: 'unmap' }), { ...memory('m'), size: 1 }),
    ).rejects.toThrow("Cannot change the option 'size'");
    await run('blockdev-add', { ...memory('r'), driver: 'raw', file: 'm', size: undefined });
    const path = join(directory, 's');
    await run('nbd-server-start', { addr: { type: 'unix', data: { path } } });
    await run('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'r', writable: true });
    await expect(
      reopen(file({ 'read-only': true, discard: 'unmap' }), { ...memory('m'), 'read-only': true }),
    ).rejects.toThrow("Read-only block node 'm' cannot support read-write users");
    expect([node('a').readOnly, node('m').readOnly]).toEqual([false, false]);
    await node('a').discard(0, 65_536);
    expect(await isHole(0)).toBe(false);
  });

  it('reaches the child that came with a node', async () => {
    const raw = (more: object) => ({
      driver: 'raw',
      'node-name': 'r',
      file: { ...file({}), 'node-name': 'inner', filename: join(directory, 'b.img') },
      ...more,
    });
    await writeFile(join(directory, 'b.img'), Buffer.alloc(SIZE));
    await run('blockdev-add', raw({}));
    await reopen(raw({ 'read-only': true }));
    expect([node('r').readOnly, node('inner').readOnly]).toEqual([true, true]);
    await reopen(raw({}));
    await node('r').write(0, Buffer.alloc(1));
  });

  it('leaves a mirror above alone', async () => {
    await run('blockdev-add', memory('m'));
    await run('blockdev-mirror', { 'job-id': 'm0', device: 'a', target: 'm', sync: 'full' });
    const [filter] = rig.storage.graph.parentsOf(node('a'));
    await reopen(file({ discard: 'unmap', cache: { 'no-flush': true } }));
    await filter!.write(0, Buffer.alloc(4096, 'y'));
    const until = (status: string) => ({ event: 'JOB_STATUS_CHANGE', data: { id: 'm0', status } });
    await expect.poll(() => rig.events).toContainEqual(until('ready'));
    await expect(reopen({ ...memory('m'), 'read-only': true })).rejects.toThrow(
      "Read-only block node 'm' cannot support read-write users",
    );
    await run('block-job-cancel', { device: 'm0' });
    await expect.poll(() => rig.events).toContainEqual(until('null'));
    const [mine, copy] = [Buffer.alloc(SIZE), Buffer.alloc(SIZE)];
    await node('a').read(0, mine);
    await node('m').read(0, copy);
    expect(copy.equals(mine)).toBe(true);
  });

  it('refuses to change what stays, and to leave it out', async () => {
    await expect(reopen(file({ cache: { direct: true } }))).rejects.toThrow(
      "Cannot change the option 'cache.direct'",
    );
    const raw = { driver: 'raw', 'node-name': 'r', file: 'a' };
    await run('blockdev-add', { ...raw, size: 4096 });
    await expect(reopen(raw)).rejects.toThrow("Option 'size' cannot be reset to its default value");
    await expect(reopen({ ...raw, size: 512 })).rejects.toThrow("Cannot change the option 'size'");
  });

  it('leaves what was read-only because of its child as it was, when another fails', async () => {
    await run('blockdev-add', { ...memory('m'), 'read-only': true });
    const raw = { driver: 'raw', 'node-name': 'r', file: 'm' };
    await run('blockdev-add', raw);
    const group = { 'qom-type': 'throttle-group', id: 'g' };
    await run('object-add', group);
    const throttle = { driver: 'throttle', 'node-name': 't', file: 'a', 'throttle-group': 'g' };
    await run('blockdev-add', throttle);
    const failed = reopen(raw, { ...throttle, 'throttle-group': 'none' });
    await expect(failed).rejects.toThrow("Throttle group 'none' does not exist");
    await reopen(memory('m'));
    await node('r').write(0, Buffer.alloc(1));
  });
});
