import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { encodeOption } from '../../../protocol/nbd/handshake.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import {
  CLIENT_IN_FLIGHT_REQUESTS_MAX,
  CLIENT_UNSENT_BYTES_MAX,
  KiB,
  MiB,
  NBD_HANDSHAKE_MS_MAX,
} from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { type NbdRig, startNbdRig } from '../../support/nbd-rig.ts';
import { pause } from '../../support/process.ts';
import { encodeRequest, type RawNbdClient } from '../../support/raw-nbd-client.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const { NBD_CMD_READ: READ, NBD_CMD_WRITE: WRITE } = wire;

async function serves(rig: NbdRig): Promise<boolean> {
  const client = await rig.connect();
  await client.go();
  client.request({ type: READ, length: 512 });
  const { error } = await client.reply(512);
  client.close();
  return error === 0;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(2);
}

describe('a client that goes away', () => {
  const PLACES: [string, (client: RawNbdClient) => Promise<unknown>][] = [
    ['before it said anything', async () => {}],
    [
      'in the middle of an option',
      async (client) => {
        await client.greet();
        client.send(encodeOption(wire.NBD_OPT_GO, Buffer.alloc(100)).subarray(0, 30));
      },
    ],
    [
      'right after ABORT (AB-03)',
      async (client) => {
        await client.greet();
        client.send(encodeOption(wire.NBD_OPT_ABORT));
      },
    ],
    [
      'in the middle of a header',
      async (client) => {
        await client.go();
        client.send(encodeRequest({ type: READ }).subarray(0, 13));
      },
    ],
    [
      'in the middle of a payload',
      async (client) => {
        await client.go();
        client.request({ type: WRITE, length: 1 * MiB }, Buffer.alloc(300 * KiB));
      },
    ],
    [
      'with replies pending',
      async (client) => {
        await client.go();
        for (let count = 0; count < 100; count++) client.request({ type: READ, length: 1 * MiB });
      },
    ],
  ];

  it.each(PLACES)('%s leaves nothing behind (RB-01, RB-05)', async (_name, act) => {
    const rig = await startNbdRig();
    const [closing, resetting] = [await rig.connect(), await rig.connectTcp()];
    await act(closing);
    await act(resetting);
    await pause(10);
    closing.close();
    resetting.socket.resetAndDestroy();
    await until(() => rig.server.clients().length === 0);
    expect(rig.export.clients.size).toBe(0);
    expect(await serves(rig)).toBe(true);
  });

  it('is gone only when what it asked for has finished below', async () => {
    const node = new ShakyNode(new MemoryNode('disk', { size: 1 * MiB }));
    let finish = () => {};
    node.meddle = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    const rig = await startNbdRig({ node });
    const client = await rig.connectTcp();
    await client.go();
    client.request({ type: WRITE, length: 4 }, 'data');
    await until(() => node.log.length > 0);
    client.socket.resetAndDestroy();
    await pause(20);
    expect(rig.export.clients.size).toBe(1);
    finish();
    await until(() => rig.export.clients.size === 0);
  });
});

describe('a client that never reads', () => {
  it('is not served beyond a bound, and others are (RB-07)', async () => {
    const rig = await startNbdRig();
    const client = await rig.connect();
    await client.go();
    client.socket.pause();
    const asked = 64 * MiB;
    for (let count = 0; count < asked / (64 * KiB); count++) {
      client.request({ type: READ, length: 64 * KiB });
    }
    await until(() => rig.export.counters.readBytes >= CLIENT_UNSENT_BYTES_MAX);
    await pause(50);
    expect(rig.export.counters.readBytes).toBeLessThan(CLIENT_UNSENT_BYTES_MAX + 2 * MiB);
    expect(await serves(rig)).toBe(true);
    client.socket.resume();
    await client.receive((asked / (64 * KiB)) * (64 * KiB + 16));
  });
});

describe('a client with a deep queue', () => {
  it('has a bounded number of requests in flight', async () => {
    const node = new ShakyNode(new MemoryNode('disk', { size: 1 * MiB }));
    const waiting: (() => void)[] = [];
    node.meddle = () => new Promise((resolve) => waiting.push(resolve));
    const rig = await startNbdRig({ node });
    const client = await rig.connect();
    await client.go();
    const count = 3 * CLIENT_IN_FLIGHT_REQUESTS_MAX;
    for (let index = 0; index < count; index++) client.request({ type: READ, length: 512 });
    await until(() => waiting.length >= CLIENT_IN_FLIGHT_REQUESTS_MAX);
    await pause(20);
    expect(waiting.length).toBe(CLIENT_IN_FLIGHT_REQUESTS_MAX);
    node.meddle = () => {};
    for (const finish of waiting) finish();
    await client.receive(count * 528);
  });
});

describe('many clients', () => {
  it('are served side by side (MU-02)', async () => {
    const rig = await startNbdRig();
    const clients = await Promise.all(Array.from({ length: 32 }, () => rig.connect()));
    await Promise.all(clients.map((client) => client.go()));
    await Promise.all(
      clients.map(async (client, index) => {
        const data = Buffer.alloc(5000, index + 1);
        client.request({ type: WRITE, offset: index * 5000, length: 5000 }, data);
        expect((await client.reply()).error).toBe(0);
      }),
    );
    const all = Buffer.alloc(32 * 5000);
    await rig.node.read(0, all);
    for (let index = 0; index < 32; index++) {
      const part = all.subarray(index * 5000, (index + 1) * 5000);
      expect(part.every((byte) => byte === index + 1)).toBe(true);
    }
  });

  it('beyond the limit wait until one leaves', async () => {
    const rig = await startNbdRig({ server: { connectionsMax: 2 } });
    const [first] = [await rig.connect(), await rig.connect()];
    const third = await rig.connect();
    const greeted = third.greet();
    expect(await Promise.race([greeted, pause(30)])).toBeUndefined();
    first.close();
    expect(await greeted).toBe(3);
  });
});

describe('a slow handshake', () => {
  it('is cut when its time is over, others are not delayed (RB-08)', async () => {
    const clock = new FakeClock();
    const rig = await startNbdRig({ server: { clock } });
    const slow = await rig.connect();
    await slow.greet();
    const served = await rig.connect();
    await served.go();
    clock.advance(NBD_HANDSHAKE_MS_MAX - 1);
    expect((await slow.option(wire.NBD_OPT_LIST)).length).toBe(2);
    clock.advance(1);
    expect((await slow.untilEnd()).length).toBe(0);
    served.request({ type: READ, length: 5 });
    expect((await served.reply(5)).error).toBe(0);
  });
});
