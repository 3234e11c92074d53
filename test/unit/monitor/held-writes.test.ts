import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import type { InetAddress } from '../../../src/net/address.ts';
import { KiB } from '../../../src/util/limits.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';
import { pause } from '../../support/process.ts';
import { RawNbdClient } from '../../support/raw-nbd-client.ts';

/** What clients write while a job is pending: it waits for `job-finalize`, but others do not. */
const SIZE = 256 * KiB;
let rig: MonitorRig;

beforeEach(async () => {
  rig = makeMonitorRig();
  for (const name of ['a', 'b', 'c']) {
    const disk = { driver: 'x-memory', 'node-name': name, size: SIZE, discard: 'unmap' };
    await run('blockdev-add', disk);
  }
  await startServer();
});
afterEach(() => rig.close());

const run = (command: string, given: object = {}) => rig.dispatcher.execute(command, given);
const node = (name: string) => rig.storage.graph.find(name)!;
const told = (event: string, data: object) =>
  expect
    .poll(() => rig.events)
    .toContainEqual(expect.objectContaining({ event, data: expect.objectContaining(data) }));

const startServer = () =>
  run('nbd-server-start', { addr: { type: 'inet', data: { host: '127.0.0.1', port: '0' } } });

const addExport = (name: string, writable: boolean) =>
  run('block-export-add', { type: 'nbd', id: name, 'node-name': name, writable });

async function mirror(id: string, device: string, target: string, more: object = {}) {
  await run('blockdev-mirror', { 'job-id': id, device, target, sync: 'full', ...more });
  await told('BLOCK_JOB_READY', { device: id });
}

/** It holds back what clients write to its source until `job-finalize`. */
async function pending(id: string, device: string, target: string, how = 'block-job-cancel') {
  await mirror(id, device, target, { 'auto-finalize': false });
  await run(how, how === 'block-job-cancel' ? { device: id } : { id });
  await told('BLOCK_JOB_PENDING', { id });
}

async function finalize(id: string) {
  await run('job-finalize', { id });
  await told('BLOCK_JOB_COMPLETED', { device: id });
}

async function connect(name: string): Promise<RawNbdClient> {
  const { port } = rig.storage.nbd.server!.addresses[0] as InetAddress;
  const client = await RawNbdClient.connect({ port });
  await client.go({ name });
  return client;
}

async function begins(name: string): Promise<string> {
  const data = Buffer.alloc(4);
  await node(name).read(0, data);
  return data.toString();
}

describe('nbd-server-stop', () => {
  const requests = [
    [wire.NBD_CMD_WRITE, 'data'],
    [wire.NBD_CMD_WRITE_ZEROES, ''],
    [wire.NBD_CMD_TRIM, ''],
  ] as const;

  it.each(['block-job-cancel', 'job-complete'])(
    'answers at once after %s, and refuses what is held back',
    async (how) => {
      await addExport('a', true);
      await node('a').write(0, Buffer.from('here'));
      await pending('m0', 'a', 'b', how);
      const client = await connect('a');
      for (const [cookieLow, [type, payload]] of requests.entries()) {
        client.request({ type, length: 4, cookieLow }, payload);
      }
      client.request({ type: wire.NBD_CMD_READ, length: 4, cookieLow: 9 });
      expect(await client.reply(4)).toMatchObject({ cookie: 9, error: 0 });
      const stopped = run('nbd-server-stop');
      for (const cookie of requests.keys()) {
        expect(await client.reply()).toMatchObject({ cookie, error: wire.NBD_ESHUTDOWN });
      }
      client.close();
      await stopped;
      expect(await run('query-block-exports')).toEqual([]);
      // The name is free for the next server, whose clients are held back as well.
      await startServer();
      await addExport('a', true);
      const next = await connect('a');
      next.request({ type: wire.NBD_CMD_WRITE, length: 4 }, 'more');
      await pause(20);
      expect([await begins('a'), await begins('b')]).toEqual(['here', 'here']);
      await finalize('m0');
      expect(await next.reply()).toMatchObject({ error: 0 });
      const moved = how === 'job-complete';
      expect([await begins('a'), await begins('b')]).toEqual(
        moved ? ['here', 'more'] : ['more', 'here'],
      );
      next.close();
    },
  );

  it('refuses what the end of a mirror below another one holds back', async () => {
    await addExport('a', true);
    await mirror('m0', 'a', 'b', { 'copy-mode': 'write-blocking' });
    await pending('m1', 'a', 'c');
    const client = await connect('a');
    client.request({ type: wire.NBD_CMD_WRITE, length: 4 }, 'data');
    client.request({ type: wire.NBD_CMD_FLUSH, cookieLow: 1 });
    expect(await client.reply()).toMatchObject({ cookie: 1, error: 0 });
    const stopped = run('nbd-server-stop');
    expect(await client.reply()).toMatchObject({ cookie: 0, error: wire.NBD_ESHUTDOWN });
    client.close();
    await stopped;
  });

  it('refuses what comes to be held back when it has waited elsewhere', async () => {
    await run('object-add', {
      'qom-type': 'throttle-group',
      id: 'tg',
      limits: { 'iops-total': 4 },
    });
    const throttled = { driver: 'throttle', 'node-name': 't', 'throttle-group': 'tg', file: 'a' };
    await mirror('m0', 'a', 'b', { 'auto-finalize': false });
    await run('blockdev-add', throttled);
    await addExport('t', true);
    await run('block-job-cancel', { device: 'm0' });
    await told('BLOCK_JOB_PENDING', { id: 'm0' });
    const client = await connect('t');
    for (let cookieLow = 0; cookieLow < 3; cookieLow++) {
      client.request({ type: wire.NBD_CMD_WRITE, length: 4, cookieLow }, 'data');
    }
    const [held] = rig.storage.nbd.list();
    await expect.poll(() => held!.exported.counters.writes).toBe(3);
    const stopped = run('nbd-server-stop');
    for (let cookie = 0; cookie < 3; cookie++) {
      expect(await client.reply()).toMatchObject({ cookie, error: wire.NBD_ESHUTDOWN });
    }
    client.close();
    await stopped;
  });

  it('leaves alone what a mirror writes to a disk that clients only read', async () => {
    await mirror('m0', 'a', 'b');
    await addExport('b', false);
    await pending('m1', 'b', 'c');
    const reader = await connect('b');
    await rig.storage.graph
      .use(node('a'), { kind: 'export', name: 'e' }, { writable: true })
      .node.write(0, Buffer.from('data'));
    await pause(20);
    expect(await begins('b')).not.toBe('data');
    reader.close();
    await run('nbd-server-stop');
    await finalize('m1');
    await expect.poll(() => begins('b')).toBe('data');
    expect(rig.events.map(({ event }) => event)).not.toContain('BLOCK_JOB_ERROR');
  });
});

it('a forced cancel does not wait for a pending mirror below a node below it', async () => {
  await mirror('m1', 'a', 'c', { 'auto-finalize': false });
  await run('blockdev-add', { driver: 'raw', 'node-name': 'r', file: 'a' });
  await addExport('r', true);
  await mirror('m0', 'r', 'b');
  await run('block-job-cancel', { device: 'm1' });
  await told('BLOCK_JOB_PENDING', { id: 'm1' });
  const client = await connect('r');
  client.request({ type: wire.NBD_CMD_WRITE, length: 4 }, 'data');
  await pause(20);
  await run('block-job-cancel', { device: 'm0', force: true });
  await told('BLOCK_JOB_CANCELLED', { device: 'm0' });
  await finalize('m1');
  expect(await client.reply()).toMatchObject({ error: 0 });
  client.close();
});

it('at the end of the process what was held back is written', async () => {
  await addExport('a', true);
  await pending('m0', 'a', 'b');
  const client = await connect('a');
  client.request({ type: wire.NBD_CMD_WRITE, length: 4 }, 'data');
  client.request({ type: wire.NBD_CMD_FLUSH, cookieLow: 1 });
  expect(await client.reply()).toMatchObject({ cookie: 1 });
  const closed = rig.close();
  expect(await client.reply()).toMatchObject({ cookie: 0, error: 0 });
  client.close();
  await closed;
});
