import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { PayloadBudget } from '../../../src/nbd-server/payload-budget.ts';
import {
  CLIENT_OWN_PAYLOAD_BYTES,
  KiB,
  MiB,
  NBD_PAYLOAD_BYTES_MAX,
  PAYLOAD_STALL_MS,
  SERVER_PAYLOAD_BYTES_MAX,
} from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';
import { pause } from '../../support/process.ts';
import { encodeRequest } from '../../support/raw-nbd-client.ts';
import { ShakyNode } from '../../support/shaky-node.ts';
import { TransmissionHarness } from '../../support/transmission-harness.ts';

const WRITE_BYTES = 3 * MiB;
/** What a client needs of the budget for one such write; it has the rest itself. */
const SHARED_BYTES = WRITE_BYTES - CLIENT_OWN_PAYLOAD_BYTES;
const WRITE = encodeRequest({ type: wire.NBD_CMD_WRITE, length: WRITE_BYTES });
const READ = encodeRequest({ type: wire.NBD_CMD_READ, length: 4 * KiB });

/** Clients of one server, and the writes that wait in their disks until they are let through. */
class Rig {
  readonly clock = new FakeClock();
  readonly clients: TransmissionHarness[];
  readonly writing: (() => void)[] = [];
  /** Writes that were let through. */
  written = 0;

  constructor(clients: number, budgetBytes: number) {
    const budget = new PayloadBudget(this.clock, budgetBytes);
    this.clients = Array.from({ length: clients }, () => {
      const shared = { clock: this.clock, budget };
      const client = new TransmissionHarness(4 * MiB, () => false, shared);
      client.node.meddle = (verb) => (verb === 'write' ? this.#hold() : undefined);
      return client;
    });
  }

  #hold(): Promise<void> {
    return new Promise((resolve) => this.writing.push(resolve));
  }

  /** Long enough for whatever happens by itself. */
  async idle(): Promise<void> {
    for (let count = 0; count < 20; count++) {
      await new Promise((resolve) => setImmediate(resolve));
      this.clock.advance(0);
    }
  }

  async letThrough(): Promise<void> {
    for (const go of this.writing.splice(0)) {
      this.written++;
      go();
    }
    await this.idle();
  }
}

const payload = (seed: number, length = WRITE_BYTES) => Buffer.alloc(length, seed);

describe('clients that send long WRITEs all at once', () => {
  it('have a bounded number of bytes in flight together, and all get through', async () => {
    const rig = new Rig(7, 2.5 * SHARED_BYTES);
    for (const [index, client] of rig.clients.entries()) {
      void client.feed(Buffer.concat([WRITE, payload(index + 1)]));
    }
    await rig.idle();
    for (let done = 0; done < 7; done += 2) {
      expect(rig.writing.length).toBe(Math.min(2, 7 - done));
      await rig.letThrough();
    }
    for (const [index, client] of rig.clients.entries()) {
      expect(client.sent.readUInt32BE(4)).toBe(0);
      const data = Buffer.alloc(WRITE_BYTES);
      await client.disk.read(0, data);
      expect(data.equals(payload(index + 1))).toBe(true);
    }
  });

  it('are served in the order in which they came', async () => {
    const rig = new Rig(3, SHARED_BYTES + 4 * KiB);
    const [first, long, short] = rig.clients as [
      TransmissionHarness,
      TransmissionHarness,
      TransmissionHarness,
    ];
    void first.feed(Buffer.concat([WRITE, payload(1)]));
    void long.feed(Buffer.concat([WRITE, payload(2)]));
    const length = CLIENT_OWN_PAYLOAD_BYTES + 4 * KiB;
    const header = encodeRequest({ type: wire.NBD_CMD_WRITE, length });
    void short.feed(Buffer.concat([header, payload(3, length)]));
    await rig.idle();
    // There is room for the short one, but the long one came before it.
    expect([long.node.log, short.node.log]).toEqual([[], []]);
    await rig.letThrough();
    expect(long.node.log).toEqual([`write 0+${WRITE_BYTES}`]);
    expect(short.node.log).toEqual([`write 0+${length}`]);
  });

  it('do not delay what is short', async () => {
    const rig = new Rig(3, SHARED_BYTES);
    const [long, waiting, other] = rig.clients as [
      TransmissionHarness,
      TransmissionHarness,
      TransmissionHarness,
    ];
    for (const client of [long, waiting]) void client.feed(Buffer.concat([WRITE, payload(1)]));
    await rig.idle();
    expect(waiting.node.log).toEqual([]);
    const length = CLIENT_OWN_PAYLOAD_BYTES;
    await other.feed(READ);
    await other.feed(encodeRequest({ type: wire.NBD_CMD_READ, length }));
    await rig.idle();
    expect(other.sent.length).toBe(4 * KiB + length + 2 * 16);
  });
});

describe('a client that holds payload for which others wait', () => {
  async function start(budgetBytes = SHARED_BYTES) {
    const rig = new Rig(2, budgetBytes);
    const [holder, waiting] = rig.clients as [TransmissionHarness, TransmissionHarness];
    void holder.feed(Buffer.concat([WRITE, payload(1, MiB)]));
    await rig.idle();
    return { rig, holder, waiting };
  }
  const queue = async (rig: Rig, client: TransmissionHarness) => {
    void client.feed(Buffer.concat([WRITE, payload(2)]));
    await rig.idle();
    expect(client.node.log).toEqual([]);
  };

  it('gives it back when it leaves', async () => {
    const { rig, holder, waiting } = await start();
    await queue(rig, waiting);
    holder.transmission.abandon();
    await rig.idle();
    expect(waiting.node.log).toHaveLength(1);
  });

  it('is cut when it sends no more', async () => {
    const { rig, holder, waiting } = await start();
    await queue(rig, waiting);
    rig.clock.advance(2 * PAYLOAD_STALL_MS);
    await rig.idle();
    expect(holder.cut).toBe(true);
    expect(waiting.node.log).toHaveLength(1);
  });

  it('is cut when what it sends takes for ever', async () => {
    const { rig, holder, waiting } = await start();
    await queue(rig, waiting);
    rig.clock.advance(PAYLOAD_STALL_MS);
    await holder.feed(payload(1, 64 * KiB));
    expect(holder.cut).toBe(false);
    rig.clock.advance(PAYLOAD_STALL_MS);
    await rig.idle();
    expect(holder.cut).toBe(true);
    expect(waiting.node.log).toHaveLength(1);
  });

  it('has as long for what it sends next', async () => {
    const short = 128 * KiB;
    const { rig, holder, waiting } = await start(SHARED_BYTES + short);
    rig.clock.advance(PAYLOAD_STALL_MS);
    const next = encodeRequest({ type: wire.NBD_CMD_WRITE, length: short });
    void holder.feed(Buffer.concat([payload(1, 2 * MiB), next, payload(1, 4 * KiB)]));
    await rig.idle();
    await queue(rig, waiting);
    rig.clock.advance(PAYLOAD_STALL_MS);
    expect(holder.cut).toBe(false);
    rig.clock.advance(PAYLOAD_STALL_MS);
    expect(holder.cut).toBe(true);
  });

  it('is left alone while its disk takes its time', async () => {
    const { rig, holder, waiting } = await start();
    await holder.feed(payload(1, 2 * MiB));
    await queue(rig, waiting);
    rig.clock.advance(5 * PAYLOAD_STALL_MS);
    expect(holder.cut).toBe(false);
    await rig.letThrough();
    expect(waiting.node.log).toHaveLength(1);
  });

  it('is left alone while nobody waits', async () => {
    const { rig, holder } = await start();
    rig.clock.advance(5 * PAYLOAD_STALL_MS);
    expect(holder.cut).toBe(false);
  });

  /** A client whose disk has to answer still, and one that waits for what it holds. */
  async function startReading() {
    const rig = new Rig(2, SHARED_BYTES);
    const [reader, waiting] = rig.clients as [TransmissionHarness, TransmissionHarness];
    const reading = new Promise<() => void>((begun) => {
      reader.node.meddle = () => new Promise((answer) => begun(answer));
    });
    reader.takesReplies = false;
    void reader.feed(encodeRequest({ type: wire.NBD_CMD_READ, length: WRITE_BYTES }));
    await queue(rig, waiting);
    return { rig, reader, waiting, answer: await reading };
  }

  it.each([
    ['does not take its reply', Buffer.alloc(0)],
    ['has said goodbye before', encodeRequest({ type: wire.NBD_CMD_DISC })],
  ])('is cut when it %s', async (_what, goodbye) => {
    const { rig, reader, waiting, answer } = await startReading();
    await reader.feed(goodbye);
    answer();
    await rig.idle();
    rig.clock.advance(2 * PAYLOAD_STALL_MS);
    await rig.idle();
    expect(reader.cut).toBe(true);
    expect(waiting.node.log).toHaveLength(0);
    reader.takeReplies();
    await rig.idle();
    expect(waiting.node.log).toHaveLength(1);
  });

  it('has as long as anybody for a reply that its disk has kept waiting', async () => {
    const { rig, reader, waiting, answer } = await startReading();
    rig.clock.advance(PAYLOAD_STALL_MS - 1);
    answer();
    await rig.idle();
    rig.clock.advance(1);
    expect(reader.cut).toBe(false);
    reader.takeReplies();
    await rig.idle();
    rig.clock.advance(PAYLOAD_STALL_MS);
    expect(reader.cut).toBe(false);
    expect(waiting.node.log).toHaveLength(1);
  });

  it('does not count as one of those who wait', async () => {
    const rig = new Rig(2, 2 * SHARED_BYTES);
    const [client, other] = rig.clients as [TransmissionHarness, TransmissionHarness];
    await other.feed(Buffer.concat([WRITE, payload(1)]));
    client.takesReplies = false;
    const read = encodeRequest({ type: wire.NBD_CMD_READ, length: WRITE_BYTES });
    await client.feed(Buffer.concat([read, read]));
    await rig.idle();
    expect(client.node.log).toHaveLength(1);
    rig.clock.advance(5 * PAYLOAD_STALL_MS);
    expect(client.cut).toBe(false);
    client.takeReplies();
    await rig.idle();
    expect(client.node.log).toHaveLength(2);
  });
});

describe('a server', () => {
  const length = NBD_PAYLOAD_BYTES_MAX;
  /** Requests of the longest kind that fit into the budget. */
  const atOnce = Math.floor(SERVER_PAYLOAD_BYTES_MAX / (length - CLIENT_OWN_PAYLOAD_BYTES));

  async function start(clientCount: number) {
    const node = new ShakyNode(new MemoryNode('disk', { size: length }));
    const rig = await startNbdRig({ node });
    const clients = await Promise.all(Array.from({ length: clientCount }, () => rig.connect()));
    for (const client of clients) await client.go();
    return { node, rig, clients };
  }

  it('receives no more of WRITEs than its budget, and serves all in the end', async () => {
    const { node, rig, clients } = await start(atOnce + 2);
    const waiting: (() => void)[] = [];
    node.meddle = () => new Promise((resolve) => waiting.push(resolve));
    const data = Buffer.alloc(length, 7);
    for (const client of clients) {
      client.socket.write(encodeRequest({ type: wire.NBD_CMD_WRITE, length }));
      client.socket.write(data);
    }
    while (waiting.length < atOnce) await pause(2);
    await pause(50);
    expect(waiting.length).toBe(atOnce);
    expect(rig.server.clients().filter((one) => one.bytesReceived < MiB)).toHaveLength(2);
    node.meddle = () => {};
    for (const go of waiting.splice(0)) go();
    for (const client of clients) expect((await client.reply()).error).toBe(0);
  });

  it.each(['stay', 'end their side'])(
    'reads no more for READs than its budget, and serves all: clients that %s',
    async (how) => {
      const { rig, clients } = await start(atOnce + 1);
      for (const client of clients) {
        client.socket.pause();
        client.request({ type: wire.NBD_CMD_READ, length });
        if (how !== 'stay') client.socket.end();
      }
      while (rig.export.counters.reads < atOnce) await pause(2);
      await pause(50);
      expect(rig.export.counters.reads).toBe(atOnce);
      for (const client of clients) client.socket.resume();
      for (const client of clients) expect((await client.reply(length)).error).toBe(0);
    },
  );
});
