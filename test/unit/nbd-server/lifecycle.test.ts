import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { encodeGoRequest } from '../../../protocol/nbd/handshake.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import type { NbdExport } from '../../../src/nbd-server/export.ts';
import { CLIENT_LINGER_MS, CLIENT_UNSENT_BYTES_MAX, KiB, MiB } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';
import { pause } from '../../support/process.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const { NBD_CMD_READ: READ, NBD_CMD_WRITE: WRITE } = wire;

/** A disk whose requests wait until the test says. */
function gatedDisk() {
  const node = new ShakyNode(new MemoryNode('disk', { size: 1 * MiB }));
  const waiting: (() => void)[] = [];
  node.meddle = () => new Promise((resolve) => waiting.push(resolve));
  return { node, waiting };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(2);
}

function recordClosed() {
  const closed: string[] = [];
  return { closed, server: { onExportClosed: (one: NbdExport) => void closed.push(one.id) } };
}

describe('removing an export', () => {
  it('that nobody uses closes it and releases its node', async () => {
    const { closed, server } = recordClosed();
    const rig = await startNbdRig({ server });
    rig.server.removeExport('exp0', 'safe');
    expect(closed).toEqual(['exp0']);
    expect(rig.graph.usersOf(rig.node)).toEqual([]);
    const client = await rig.connect();
    const replies = await client.go();
    expect(replies.map(({ type }) => type)).toEqual([wire.NBD_REP_ERR_UNKNOWN]);
  });

  it('comes in the order of the latest, when the server stops', async () => {
    const { closed, server } = recordClosed();
    const rig = await startNbdRig({ server });
    const use = rig.graph.use(rig.node, { kind: 'export', name: 'exp1' }, { writable: false });
    rig.server.addExport({ id: 'exp1', name: 'other', writable: false, use });
    await rig.server.stop();
    expect(closed).toEqual(['exp1', 'exp0']);
  });

  it('that has clients is refused when it is to be safe', async () => {
    const rig = await startNbdRig();
    const client = await rig.connect();
    await client.go();
    expect(() => rig.server.removeExport('exp0', 'safe')).toThrow("export 'exp0' still in use");
    client.request({ type: READ, length: 1 });
    expect((await client.reply(1)).error).toBe(0);
  });

  it('that has clients cuts them when it is hard, and closes behind the last request', async () => {
    const { closed, server } = recordClosed();
    const { node, waiting } = gatedDisk();
    const rig = await startNbdRig({ node, server });
    const client = await rig.connect();
    await client.go();
    client.request({ type: WRITE, length: 4 }, 'data');
    await until(() => waiting.length === 1);
    rig.server.removeExport('exp0', 'hard');
    expect((await client.untilEnd()).length).toBe(0);
    expect(closed).toEqual([]);
    expect(() => rig.server.removeExport('exp0', 'hard')).toThrow('already shutting down');
    // Nobody gets it by its name any more, so another may have that.
    const use = rig.graph.use(node, { kind: 'export', name: 'next' }, { writable: false });
    rig.server.addExport({ id: 'next', name: '', writable: false, use });
    const replies = await (await rig.connect()).go();
    expect(replies.at(-1)!.type).toBe(wire.NBD_REP_ACK);
    waiting[0]!();
    await until(() => closed.length === 1);
    expect(rig.server.findExport('exp0')).toBeUndefined();
  });

  it('that does not exist is refused', async () => {
    const { server } = await startNbdRig();
    expect(() => server.removeExport('nope', 'safe')).toThrow("Export 'nope' is not found");
  });
});

describe('adding an export', () => {
  it.each([
    [{ id: 'exp0', name: 'other' }, "Block export id 'exp0' is already in use"],
    [{ id: 'other', name: '' }, "NBD server already has export named ''"],
  ])('%j is refused when that is taken', async (taken, message) => {
    const { server, graph, node } = await startNbdRig();
    const use = graph.use(node, { kind: 'export', name: 'other' }, { writable: false });
    expect(() => server.addExport({ ...taken, writable: false, use })).toThrow(message);
  });
});

describe.each(['DISC', 'the end of its side'])('a client that has sent %s', (how) => {
  /** It does not take the reply that it waits for. */
  async function start() {
    const clock = new FakeClock();
    const rig = await startNbdRig({ server: { clock } });
    const client = await rig.connect();
    await client.go();
    client.socket.pause();
    client.request({ type: READ, length: 4 * MiB });
    if (how === 'DISC') client.request({ type: wire.NBD_CMD_DISC });
    else client.socket.end();
    await until(() => rig.export.counters.reads === 1);
    await pause(20);
    clock.advance(10 * CLIENT_LINGER_MS);
    await pause(20);
    return { clock, rig, client };
  }

  it('has all the time that it needs for its last replies (DC-01, RB-06)', async () => {
    const { clock, rig, client } = await start();
    client.socket.resume();
    expect((await client.reply(4 * MiB)).error).toBe(0);
    expect((await client.untilEnd()).length).toBe(0);
    clock.advance(CLIENT_LINGER_MS);
    await until(() => rig.export.clients.size === 0);
  });

  it('is not waited for when the server stops', async () => {
    const { clock, rig } = await start();
    expect(rig.export.clients.size).toBe(1);
    const stopped = rig.server.stop();
    clock.advance(CLIENT_LINGER_MS);
    await stopped;
  });
});

describe('stopping', () => {
  it('answers what is in flight, refuses what comes, then closes (TM-01)', async () => {
    const { node, waiting } = gatedDisk();
    const { closed, server } = recordClosed();
    const rig = await startNbdRig({ node, server });
    const client = await rig.connect();
    await client.go();
    client.request({ type: WRITE, length: 4, cookieLow: 1 }, 'data');
    await until(() => waiting.length === 1);
    const stopped = rig.server.stop();
    client.request({ type: WRITE, length: 4, cookieLow: 2 }, 'late');
    expect(await client.reply()).toMatchObject({ cookie: 2, error: wire.NBD_ESHUTDOWN });
    waiting[0]!();
    expect(await client.reply()).toMatchObject({ cookie: 1, error: 0 });
    expect((await client.untilEnd()).length).toBe(0);
    client.close();
    await stopped;
    expect(closed).toEqual(['exp0']);
    expect(existsSync(rig.socket)).toBe(false);
  });

  it('begins no WRITE whose payload comes too late', async () => {
    const { node, waiting } = gatedDisk();
    const rig = await startNbdRig({ node });
    const client = await rig.connect();
    await client.go();
    client.request({ type: READ, length: 4, cookieLow: 1 });
    client.request({ type: WRITE, length: 4, cookieLow: 2 }, 'ha');
    await until(() => waiting.length === 1);
    const stopped = rig.server.stop();
    client.send('lf');
    expect(await client.reply()).toMatchObject({ cookie: 2, error: wire.NBD_ESHUTDOWN });
    waiting[0]!();
    expect(await client.reply(4)).toMatchObject({ cookie: 1, error: 0 });
    client.close();
    await stopped;
    expect(node.log).toEqual(['read 0+4']);
  });

  it('tells a client that haggles', async () => {
    const rig = await startNbdRig();
    const client = await rig.connect();
    await client.greet();
    await client.option(wire.NBD_OPT_LIST);
    const stopped = rig.server.stop();
    const request = encodeGoRequest({ exportName: '', infos: [] });
    const [reply] = await client.option(wire.NBD_OPT_GO, request);
    expect(reply!.type).toBe(wire.NBD_REP_ERR_SHUTDOWN);
    client.close();
    await stopped;
  });

  it('does not wait for ever for a client that does not read', async () => {
    const clock = new FakeClock();
    const rig = await startNbdRig({ server: { clock } });
    const client = await rig.connect();
    await client.go();
    client.socket.pause();
    for (let count = 0; count < 512; count++) {
      client.request({ type: wire.NBD_CMD_READ, length: 64 * KiB });
    }
    await until(() => rig.export.counters.readBytes >= CLIENT_UNSENT_BYTES_MAX);
    let hasStopped = false;
    const stopped = rig.server.stop().then(() => {
      hasStopped = true;
    });
    await until(() => {
      clock.advance(CLIENT_LINGER_MS);
      return hasStopped;
    });
    await stopped;
  });

  it('does not wait for ever for a client that does not close', async () => {
    const clock = new FakeClock();
    const rig = await startNbdRig({ server: { clock } });
    const client = await rig.connect();
    await client.go();
    const stopped = rig.server.stop();
    await client.untilEnd();
    clock.advance(CLIENT_LINGER_MS);
    await stopped;
  });
});
