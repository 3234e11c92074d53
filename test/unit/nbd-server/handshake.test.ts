import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import {
  decodeInfo,
  decodeListedExport,
  encodeGoRequest,
  encodeOption,
  OPTION_HEADER_BYTES,
} from '../../../protocol/nbd/handshake.ts';
import { type NegotiationHost, negotiate } from '../../../src/nbd-server/negotiation.ts';
import type { Connection } from '../../../src/net/connection.ts';
import {
  NBD_HANDSHAKE_UNSENT_BYTES_MAX,
  NBD_OPTIONS_MAX,
  NBD_OPTIONS_PER_EXPORT_MAX,
  NBD_STRING_BYTES_MAX,
} from '../../../src/util/limits.ts';
import { startNbdRig } from '../../support/nbd-rig.ts';

const go = (exportName: string, infos: number[] = []) => encodeGoRequest({ exportName, infos });
const { NBD_REP_ACK, NBD_REP_INFO, NBD_OPT_GO, NBD_OPT_INFO } = wire;
const types = (replies: { type: number }[]) => replies.map(({ type }) => type);

async function haggling(rig: Awaited<ReturnType<typeof startNbdRig>>, flags = 3) {
  const client = await rig.connect();
  await client.greet(flags);
  return client;
}

describe('the greeting', () => {
  it('is that of fixed newstyle with no-zeroes (GR-01, GR-02)', async () => {
    const client = await (await startNbdRig()).connect();
    const greeting = await client.receive(18);
    expect(greeting.toString('hex')).toBe('4e42444d41474943' + '49484156454f5054' + '0003');
  });

  it.each([4, 0x80000003])('refuses client flags %d (GR-05)', async (flags) => {
    const client = await haggling(await startNbdRig(), flags);
    expect((await client.untilEnd()).length).toBe(0);
  });

  it.each([
    ['HTTP', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['TLS', Buffer.from('160301006c010000680303', 'hex')],
    ['noise', Buffer.alloc(5000, 0xff)],
  ])('closes on %s (RB-03)', async (_name, bytes) => {
    const client = await (await startNbdRig()).connect();
    client.send(bytes);
    expect((await client.untilEnd()).length).toBe(18);
  });
});

describe('EXPORT_NAME', () => {
  it.each([
    [3, 10],
    [1, 134],
    [0, 134],
  ])('after client flags %d is answered with %d bytes (GR-04, EN-03)', async (flags, bytes) => {
    const rig = await startNbdRig();
    const client = await haggling(rig, flags);
    client.send(encodeOption(wire.NBD_OPT_EXPORT_NAME));
    const reply = await client.receive(bytes);
    expect(reply.readBigUInt64BE(0)).toBe(BigInt(rig.node.size));
    expect(reply.subarray(10).every((byte) => byte === 0)).toBe(true);
    client.request({ type: wire.NBD_CMD_READ, length: 8, cookieLow: 5 });
    expect(await client.reply(8)).toMatchObject({ cookie: 5, error: 0, structured: false });
  });

  it('tells the same size and flags as GO (EN-01)', async () => {
    const rig = await startNbdRig();
    const old = await haggling(rig);
    old.send(encodeOption(wire.NBD_OPT_EXPORT_NAME));
    const reply = await old.receive(10);
    const [info] = await (await rig.connect()).go();
    expect(info!.data.subarray(2)).toEqual(reply);
  });

  it.each([
    ['an unknown name', Buffer.from('nope')],
    ['a name that is too long', Buffer.alloc(4097, 'a')],
    ['a name that is not UTF-8', Buffer.from([0xff, 0xfe])],
  ])('closes on %s (EN-02, EN-04)', async (_name, data) => {
    const client = await haggling(await startNbdRig());
    client.send(encodeOption(wire.NBD_OPT_EXPORT_NAME, data));
    expect((await client.untilEnd()).length).toBe(0);
  });

  it('keeps what was agreed before (EN-05)', async () => {
    const client = await haggling(await startNbdRig());
    await client.option(wire.NBD_OPT_STRUCTURED_REPLY);
    client.send(encodeOption(wire.NBD_OPT_EXPORT_NAME));
    await client.receive(10);
    client.request({ type: wire.NBD_CMD_READ, length: 8 });
    expect((await client.reply()).structured).toBe(true);
  });
});

describe('GO and INFO', () => {
  it('give the same information, INFO_EXPORT first (GO-01, GO-06, GO-07)', async () => {
    const client = await haggling(await startNbdRig());
    const info = await client.option(NBD_OPT_INFO, go(''));
    expect(info[0]!.type).toBe(NBD_REP_INFO);
    expect(decodeInfo(info[0]!.data)).toMatchObject({ type: wire.NBD_INFO_EXPORT });
    expect(info.at(-1)!.type).toBe(NBD_REP_ACK);
    expect(await client.option(NBD_OPT_GO, go(''))).toEqual(info);
    client.request({ type: wire.NBD_CMD_FLUSH, cookieLow: 1 });
    expect(await client.reply()).toMatchObject({ cookie: 1, error: 0 });
  });

  it('send name and description on request, ignore unknown requests (GO-05, GO-09)', async () => {
    const rig = await startNbdRig({ export: { name: 'disk', description: 'the disk' } });
    const client = await haggling(rig);
    const infos = [wire.NBD_INFO_NAME, 77, wire.NBD_INFO_DESCRIPTION, wire.NBD_INFO_NAME];
    const replies = await client.option(NBD_OPT_INFO, go('disk', infos));
    const told = replies.slice(0, -1).map(({ data }) => decodeInfo(data));
    expect(told).toContainEqual({ type: wire.NBD_INFO_NAME, name: 'disk' });
    expect(told).toContainEqual({ type: wire.NBD_INFO_DESCRIPTION, description: 'the disk' });
    expect(new Set(told.map((info) => info!.type)).size).toBe(told.length);
  });

  it.each([
    ['an unknown export', go('nope'), wire.NBD_REP_ERR_UNKNOWN],
    ['no data', Buffer.alloc(0), wire.NBD_REP_ERR_INVALID],
    ['a name longer than the data', Buffer.from('000000ff41', 'hex'), wire.NBD_REP_ERR_INVALID],
    ['fewer requests than said', Buffer.from('00000000000200', 'hex'), wire.NBD_REP_ERR_INVALID],
    ['more data than said', Buffer.from('0000000000000000', 'hex'), wire.NBD_REP_ERR_INVALID],
    ['a NUL in the name', go('a\0b'), wire.NBD_REP_ERR_INVALID],
    ['a name that is too long', go('a'.repeat(4097)), wire.NBD_REP_ERR_INVALID],
  ])('refuse %s and go on (GO-02, GO-03, GO-04, GO-10)', async (_name, data, error) => {
    const client = await haggling(await startNbdRig());
    for (const option of [NBD_OPT_INFO, NBD_OPT_GO]) {
      const replies = await client.option(option, data);
      expect(types(replies)).toEqual([error]);
      expect(replies[0]!.data.length).toBeGreaterThan(0);
    }
    expect((await client.option(NBD_OPT_GO, go(''))).at(-1)!.type).toBe(NBD_REP_ACK);
  });
});

describe('other options', () => {
  it('LIST names every export (LS-01)', async () => {
    const rig = await startNbdRig({ export: { name: 'a', description: 'first' } });
    const use = rig.graph.use(rig.node, { kind: 'export', name: 'b' }, { writable: false });
    rig.server.addExport({ id: 'b', name: 'b', writable: false, use });
    const replies = await (await haggling(rig)).option(wire.NBD_OPT_LIST);
    expect(types(replies)).toEqual([wire.NBD_REP_SERVER, wire.NBD_REP_SERVER, NBD_REP_ACK]);
    expect(replies.slice(0, 2).map(({ data }) => decodeListedExport(data))).toEqual([
      { name: 'a', description: 'first' },
      { name: 'b', description: '' },
    ]);
  });

  it.each([
    ['LIST with data', wire.NBD_OPT_LIST, 'x', wire.NBD_REP_ERR_INVALID],
    ['STRUCTURED_REPLY with data', wire.NBD_OPT_STRUCTURED_REPLY, 'x', wire.NBD_REP_ERR_INVALID],
    ['STARTTLS', wire.NBD_OPT_STARTTLS, '', wire.NBD_REP_ERR_POLICY],
    ['STARTTLS with data', wire.NBD_OPT_STARTTLS, 'x', wire.NBD_REP_ERR_INVALID],
    ['EXTENDED_HEADERS', wire.NBD_OPT_EXTENDED_HEADERS, '', wire.NBD_REP_ERR_UNSUP],
    ['PEEK_EXPORT', wire.NBD_OPT_PEEK_EXPORT, 'x', wire.NBD_REP_ERR_UNSUP],
    ['an unknown option', 4711, 'some data', wire.NBD_REP_ERR_UNSUP],
    ['a huge option', wire.NBD_OPT_GO, 'x'.repeat(200_000), wire.NBD_REP_ERR_TOO_BIG],
  ])('%s gets an error and the session goes on', async (_name, option, data, error) => {
    const client = await haggling(await startNbdRig());
    expect(types(await client.option(option, Buffer.from(data)))).toEqual([error]);
    expect(types(await client.option(wire.NBD_OPT_LIST))).toContain(NBD_REP_ACK);
  });

  it('STRUCTURED_REPLY may be asked for twice (SR-03)', async () => {
    const client = await haggling(await startNbdRig());
    for (let time = 0; time < 2; time++) {
      expect(types(await client.option(wire.NBD_OPT_STRUCTURED_REPLY))).toEqual([NBD_REP_ACK]);
    }
  });

  it.each([0, 1, 200_000])(
    'ABORT with %d bytes of data is acknowledged and ends (AB-01, AB-02)',
    async (bytes) => {
      const client = await haggling(await startNbdRig());
      const data = Buffer.alloc(bytes);
      expect(types(await client.option(wire.NBD_OPT_ABORT, data))).toEqual([NBD_REP_ACK]);
      expect((await client.untilEnd()).length).toBe(0);
    },
  );

  it('a wrong magic number closes (OP-02)', async () => {
    const client = await haggling(await startNbdRig());
    client.send('IHAVEOPS', Buffer.alloc(8));
    expect((await client.untilEnd()).length).toBe(0);
  });

  it('an option of gigabytes closes at once (OP-05, RB-02)', async () => {
    const client = await haggling(await startNbdRig());
    const header = Buffer.from(encodeOption(wire.NBD_OPT_GO).subarray(0, OPTION_HEADER_BYTES));
    header.writeUInt32BE(0xffffffff, 12);
    client.send(header);
    expect((await client.untilEnd()).length).toBe(0);
  });

  it('endless haggling is bounded, by what there is to ask for (RB-04)', async () => {
    const rig = await startNbdRig();
    const use = rig.graph.use(rig.node, { kind: 'export', name: 'b' }, { writable: false });
    rig.server.addExport({ id: 'b', name: 'b', writable: false, use });
    const client = await haggling(rig);
    const most = NBD_OPTIONS_MAX + 2 * NBD_OPTIONS_PER_EXPORT_MAX;
    for (let count = 0; count < most; count++) await client.option(wire.NBD_OPT_LIST);
    expect((await client.untilEnd()).length).toBe(0);
  });
});

describe('the byte stream', () => {
  const script = [
    Buffer.from('00000003', 'hex'),
    encodeOption(wire.NBD_OPT_STRUCTURED_REPLY),
    encodeOption(99, Buffer.from('data')),
    encodeOption(NBD_OPT_GO, go('')),
  ];

  it.each([1, 7, 10_000])('may come in pieces of %d bytes (OP-06)', async (pieceBytes) => {
    const client = await (await startNbdRig()).connect();
    const bytes = Buffer.concat(script);
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      client.send(bytes.subarray(at, at + pieceBytes));
      await new Promise(setImmediate);
    }
    await client.receive(18);
    expect(types(await client.optionReplies())).toEqual([NBD_REP_ACK]);
    expect(types(await client.optionReplies())).toEqual([wire.NBD_REP_ERR_UNSUP]);
    expect(types(await client.optionReplies()).at(-1)).toBe(NBD_REP_ACK);
  });
});

it('a client that takes no replies does not get to the end of its options', async () => {
  const list = encodeOption(wire.NBD_OPT_LIST);
  const arrives = [Buffer.from([0, 0, 0, 3]), list, list, list];
  let answers = 0;
  const connection = {
    read: async () => arrives.shift()!,
    write: () => void answers++,
    unsentBytes: NBD_HANDSHAKE_UNSENT_BYTES_MAX + 1,
  };
  const host = { exports: () => [], multiConn: true, shuttingDown: false };
  const haggling = negotiate(connection as unknown as Connection, host);
  await expect(haggling).rejects.toThrow('the client takes no replies');
  // The greeting.
  expect(answers).toBe(1);
});

it('a client that takes them may get an answer of any length', async () => {
  const [list, abort] = [encodeOption(wire.NBD_OPT_LIST), encodeOption(wire.NBD_OPT_ABORT)];
  const arrives = [Buffer.from([0, 0, 0, 3]), list, Buffer.alloc(0), abort, Buffer.alloc(0)];
  let most = 0;
  const connection = {
    unsentBytes: 0,
    write(data: Buffer) {
      this.unsentBytes += data.length;
      most = Math.max(most, this.unsentBytes);
    },
    async read() {
      this.unsentBytes = 0;
      return arrives.shift()!;
    },
  };
  const exports = Array.from({ length: 2000 }, (_, number) => {
    return { name: `${number}`, description: 'x'.repeat(NBD_STRING_BYTES_MAX) };
  });
  const host = { exports: () => exports, multiConn: true, shuttingDown: false };
  await negotiate(connection as unknown as Connection, host as unknown as NegotiationHost);
  expect(arrives).toEqual([]);
  expect(most).toBeGreaterThan(NBD_HANDSHAKE_UNSENT_BYTES_MAX);
});
