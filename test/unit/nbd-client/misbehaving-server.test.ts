import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import * as handshake from '../../../protocol/nbd/handshake.ts';
import { encodeErrorChunk } from '../../../protocol/nbd/transmission.ts';
import { ConnectionLost, NbdClient } from '../../../src/nbd-client/nbd-client.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { ProtocolError } from '../../../src/util/errors.ts';
import {
  chunkHeader,
  dataPayload,
  GOOD_EXPORT,
  holePayload,
  type Script,
  type ScriptedPeer,
  type ScriptedRequest,
  simpleReply,
  startScriptedServer,
  statusPayload,
} from '../../support/scripted-server.ts';

/**
 * Every way in which a server can break the rules ends its connection, and nothing else: the
 * request at hand and the others fail with EIO, and the reason is told.
 */
async function connectTo(script: Script): Promise<NbdClient> {
  const { address } = await startScriptedServer(script);
  return NbdClient.connect({ address, exportName: 'disk', clock: systemClock });
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error('it succeeded'),
    (error: Error) => error,
  );
}

const data = (length: number) => Buffer.alloc(length, 0x5a);
const ack = (option: number) => handshake.encodeOptionReply(option, wire.NBD_REP_ACK);

type Answer = (peer: ScriptedPeer, request: ScriptedRequest) => void;

const READ_ANSWERS: [what: string, answer: Answer, says: string][] = [
  ['a wrong magic', (p) => p.write(Buffer.alloc(16, 0xee)), 'cannot begin with 0xeeeeeeee'],
  [
    'an unknown cookie',
    (p, r) => p.write(chunkHeader({ cookieHigh: r.cookieHigh, cookieLow: 63 }, 0, 0)),
    'answers no request',
  ],
  [
    'a cookie of another time',
    (p, r) => p.write(chunkHeader({ cookieHigh: 99, cookieLow: r.cookieLow }, 0, 0)),
    'answers no request',
  ],
  [
    'a cookie that is no slot',
    (p, r) => p.write(chunkHeader({ cookieHigh: r.cookieHigh, cookieLow: 0xffffffff }, 0, 0)),
    'answers no request',
  ],
  ['a simple reply', (p, r) => p.simple(r, 0, data(4096)), 'a simple reply cannot answer'],
  ['a simple error', (p, r) => p.simple(r, wire.NBD_EIO), 'a simple reply cannot answer'],
  ['an extended reply', (p) => p.write(Buffer.from('6e8a278c', 'hex')), 'begin with 0x6e8a278c'],
  ['nothing but the end', (p, r) => p.chunk(r, 0, data(0)), 'only 0 bytes came'],
  ['an end without DONE', (p, r) => p.chunk(r, 0, data(0), false), 'cannot answer'],
  ['an end with a payload', (p, r) => p.chunk(r, 0, data(1)), 'cannot answer'],
  ['too little', (p, r) => p.data(r, 8192, data(4095)), 'only 4095 bytes came'],
  ['too much', (p, r) => p.data(r, 8192, data(4097)), 'cannot answer'],
  ['data before the request', (p, r) => p.data(r, 8191, data(10)), 'lies outside'],
  ['data beyond the request', (p, r) => p.data(r, 12280, data(10)), 'lies outside'],
  [
    'data at an offset that no disk has',
    (p, r) =>
      p.chunk(r, wire.NBD_REPLY_TYPE_OFFSET_DATA, Buffer.concat([Buffer.alloc(8, 0xff), data(1)])),
    'lies outside',
  ],
  ['no data', (p, r) => p.chunk(r, 1, dataPayload(8192, data(0))), 'cannot answer'],
  [
    'gigabytes',
    (p, r) => p.write(chunkHeader(r, wire.NBD_REPLY_TYPE_OFFSET_DATA, 0xffffffff)),
    'cannot answer',
  ],
  [
    'the same data twice',
    (p, r) => {
      p.data(r, 8192, data(4096), false);
      p.data(r, 8192, data(1));
    },
    'came twice',
  ],
  [
    'overlapping chunks out of order',
    (p, r) => {
      p.data(r, 9000, data(100), false);
      p.data(r, 8192, data(809));
    },
    'came twice',
  ],
  [
    'chunks with a gap',
    (p, r) => {
      p.data(r, 8192, data(1000), false);
      p.data(r, 9193, data(3095));
    },
    'only 4095 bytes came',
  ],
  ['a hole outside', (p, r) => p.chunk(r, 2, holePayload(0, 4096)), 'lies outside'],
  ['an empty hole', (p, r) => p.chunk(r, 2, holePayload(8192, 0)), 'lies outside'],
  ['a hole of a wrong length', (p, r) => p.chunk(r, 2, data(13)), 'cannot answer'],
  ['a block status', (p, r) => p.chunk(r, 5, statusPayload(7, [4096, 0])), 'cannot answer'],
  ['an unknown chunk', (p, r) => p.chunk(r, 9, data(4)), 'chunk type 9 is unknown'],
  ['an error that is none', (p, r) => p.chunk(r, 0x8001, Buffer.alloc(6)), 'there was no error'],
  ['half an error', (p, r) => p.chunk(r, 0x8001, data(5)), 'an error chunk has only 5 bytes'],
  [
    'an error whose text is longer than it',
    (p, r) => p.chunk(r, 0x8001, Buffer.from('00000005000a41', 'hex')),
    'has 10 of text',
  ],
  ['an error with a novel', (p, r) => p.write(chunkHeader(r, 0x8001, 70000)), 'cannot answer'],
  [
    'an error elsewhere',
    (p, r) =>
      p.chunk(r, 0x8002, encodeErrorChunk({ error: wire.NBD_EIO, message: '', offset: 4096 })),
    'lies outside',
  ],
];

describe('a server that answers READ with', () => {
  it.each(READ_ANSWERS)('%s loses its connection', async (_what, answer, says) => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      const request = await peer.request();
      await peer.request();
      answer(peer, request);
      await peer.forever();
    });
    const failures = await Promise.all([
      failureOf(client.read(8192, Buffer.alloc(4096))),
      failureOf(client.write(0, data(512))),
    ]);
    for (const failure of failures) {
      expect(failure).toBeInstanceOf(ConnectionLost);
      expect(failure).toMatchObject({ code: 'EIO' });
      expect(failure.message).toContain(says);
    }
    expect(await client.closed).toBeInstanceOf(ProtocolError);
    await expect(client.flush()).rejects.toBeInstanceOf(ConnectionLost);
  });
});

const STATUS_ANSWERS: [what: string, answer: Answer, says: string, one?: boolean][] = [
  ['a simple success', (p, r) => p.simple(r, 0), 'a simple reply cannot answer'],
  ['no context', (p, r) => p.chunk(r, 0, data(0)), '0 of 1 contexts came'],
  ['an unknown context', (p, r) => p.chunk(r, 5, statusPayload(8, [512, 0])), 'is unknown'],
  ['no extents', (p, r) => p.chunk(r, 5, statusPayload(7)), 'a block status chunk has 4 bytes'],
  ['half an extent', (p, r) => p.chunk(r, 5, data(14)), 'a block status chunk has 14 bytes'],
  ['an empty extent', (p, r) => p.chunk(r, 5, statusPayload(7, [0, 0])), 'empty extent'],
  [
    'an extent that begins beyond the request',
    (p, r) => p.chunk(r, 5, statusPayload(7, [4096, 0], [1, 0])),
    'begins beyond the request',
    false,
  ],
  [
    'the same context twice',
    (p, r) => {
      p.chunk(r, 5, statusPayload(7, [4096, 0]), false);
      p.chunk(r, 5, statusPayload(7, [4096, 0]));
    },
    'described twice',
  ],
  [
    'two extents where one was asked for',
    (p, r) => p.chunk(r, 5, statusPayload(7, [512, 0], [512, 1])),
    'where one was asked for',
  ],
  ['data', (p, r) => p.data(r, 0, data(512)), 'OFFSET_DATA answers NBD_CMD_BLOCK_STATUS'],
  ['millions of extents', (p, r) => p.write(chunkHeader(r, 5, 2 ** 24)), 'cannot answer'],
];

describe('a server that answers BLOCK_STATUS with', () => {
  it.each(STATUS_ANSWERS)('%s loses its connection', async (_what, answer, says, one) => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      answer(peer, await peer.request());
      await peer.forever();
    });
    const failure = await failureOf(client.blockStatus(0, 4096, one ?? true));
    expect(failure.message).toContain(says);
    expect(await client.closed).toBeInstanceOf(ProtocolError);
  });
});

describe('a server', () => {
  it('that sends chunks without agreement loses its connection', async () => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate({ ...GOOD_EXPORT, structured: false });
      const request = await peer.request();
      peer.data(request, request.offset, data(request.length));
      await peer.forever();
    });
    const failure = await failureOf(client.read(0, Buffer.alloc(512)));
    expect(failure.message).toContain('cannot begin with 0x668e33ef');
  });

  it('that answers twice loses its connection', async () => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      const request = await peer.request();
      peer.answer(request);
      peer.answer(request);
      await peer.forever();
    });
    await client.read(0, Buffer.alloc(512));
    expect((await client.closed)?.message).toContain('answers no request');
  });

  it.each([
    ['at once', 0],
    ['in a header', 7],
    ['in the data', 100],
  ])('that goes away %s fails what it did not answer', async (_when, bytes) => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate({ ...GOOD_EXPORT, structured: false });
      const request = await peer.request();
      await peer.request();
      peer.write(Buffer.concat([simpleReply(request, 0), data(512)]).subarray(0, bytes));
      peer.end();
    });
    const failures = await Promise.all([
      failureOf(client.read(0, Buffer.alloc(512))),
      failureOf(client.flush()),
    ]);
    for (const failure of failures) expect(failure).toBeInstanceOf(ConnectionLost);
    expect((await client.closed)?.message).toContain('the server closed it');
  });
});

type Handshake = (peer: ScriptedPeer) => Promise<void>;
const GO = wire.NBD_OPT_GO;

async function untilGo(peer: ScriptedPeer): Promise<void> {
  await peer.greet();
  await peer.answerStructured(true);
  await peer.answerContexts(GOOD_EXPORT.contexts);
  await peer.expectOption(GO);
}

function goWith(...infos: handshake.Info[]): Handshake {
  return async (peer) => {
    await untilGo(peer);
    for (const info of infos) peer.reply(GO, wire.NBD_REP_INFO, handshake.encodeInfo(info));
    peer.reply(GO, wire.NBD_REP_ACK);
  };
}

function contextsWith(...contexts: handshake.MetaContext[]): Handshake {
  return async (peer) => {
    await peer.greet();
    await peer.answerStructured(true);
    await peer.answerContexts(contexts);
  };
}

const { size } = GOOD_EXPORT;
const sizes = (minimum: number, preferred: number, maximum: number, diskBytes = size) =>
  goWith(
    { type: wire.NBD_INFO_EXPORT, size: diskBytes, flags: 1 },
    { type: wire.NBD_INFO_BLOCK_SIZE, minimum, preferred, maximum },
  );

const NO_MINIMUM = 'make no sense: the minimum is no power of two up to 65536';

const HANDSHAKES: [what: string, script: Handshake, says: string][] = [
  ['noise', async (p) => p.write(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')), 'NBDMAGIC'],
  [
    'the oldstyle protocol',
    async (p) =>
      p.write(Buffer.from(`4e42444d41474943000042028186125300${'00'.repeat(135)}`, 'hex')),
    'speaks the oldstyle protocol',
  ],
  ['half a greeting', async (p) => p.write(Buffer.from('NBDMAGIC')), 'after 8 of 18 bytes'],
  [
    'a wrong reply magic',
    async (p) => {
      await p.greet();
      await p.option();
      p.write(Buffer.alloc(20, 1));
    },
    'wrong magic number',
  ],
  [
    'a reply to another option',
    async (p) => {
      await p.greet();
      await p.option();
      p.write(ack(wire.NBD_OPT_LIST));
    },
    'NBD_OPT_LIST when asked NBD_OPT_STRUCTURED_REPLY',
  ],
  [
    'a reply of gigabytes',
    async (p) => {
      await p.greet();
      await p.option();
      const header = Buffer.from(ack(wire.NBD_OPT_STRUCTURED_REPLY));
      header.writeUInt32BE(0x7fffffff, 16);
      p.write(header);
    },
    '2147483647 bytes',
  ],
  ['a context that nobody asked for', contextsWith({ id: 1, name: 'x:y' }), 'we did not'],
  ['one that wants the terminal', contextsWith({ id: 1, name: 'x:\x1b[2J' }), '"x:\\u001b[2J"'],
  [
    'a context twice',
    contextsWith({ id: 1, name: 'base:allocation' }, { id: 2, name: 'base:allocation' }),
    'twice',
  ],
  ['no size', goWith(), 'lacks NBD_INFO_EXPORT'],
  [
    'flags without HAS_FLAGS',
    goWith({ type: wire.NBD_INFO_EXPORT, size, flags: 4 }),
    'NBD_FLAG_HAS_FLAGS',
  ],
  ['a minimum that is no power of two', sizes(3, 4096, 65536), NO_MINIMUM],
  ['a minimum of zero', sizes(0, 4096, 65536), NO_MINIMUM],
  ['a minimum that is too large', sizes(131072, 131072, 2 ** 20), NO_MINIMUM],
  ['a preferred size below the minimum', sizes(4096, 512, 65536), 'no power of two from 4096 on'],
  ['a preferred size below a sector', sizes(1, 1, 1), 'no power of two from 512 on'],
  ['a preferred size that is no power of two', sizes(1, 513, 65536), 'power of two from 512 on'],
  ['a maximum below the minimum', sizes(4096, 4096, 512), 'the maximum is less than 4096'],
  ['such a maximum of an empty disk', sizes(4096, 4096, 512, 0), 'the maximum is less than 4096'],
  ['a maximum below the preferred size', sizes(1, 512, 511), 'the maximum is less than 512'],
  ['a maximum below all of the disk', sizes(1, 2 ** 31, size - 1), `less than ${size}`],
  [
    'a size that is not whole blocks',
    goWith(
      { type: wire.NBD_INFO_EXPORT, size: 4095, flags: 1 },
      { type: wire.NBD_INFO_BLOCK_SIZE, minimum: 512, preferred: 4096, maximum: 65536 },
    ),
    'not a multiple of its minimum block size',
  ],
  [
    'a disk of 16 exabytes',
    async (p) => {
      await untilGo(p);
      p.reply(GO, wire.NBD_REP_INFO, Buffer.from(`0000${'ff'.repeat(8)}0001`, 'hex'));
      p.reply(GO, wire.NBD_REP_ACK);
    },
    'larger than 2^53',
  ],
  [
    'information cut short',
    async (p) => {
      await untilGo(p);
      p.reply(GO, wire.NBD_REP_INFO, Buffer.alloc(11));
      p.reply(GO, wire.NBD_REP_ACK);
    },
    'NBD_INFO_EXPORT has 11 bytes',
  ],
  [
    'replies without an end',
    async (p) => {
      await untilGo(p);
      const info = handshake.encodeInfo({ type: wire.NBD_INFO_NAME, name: 'x' });
      const reply = handshake.encodeOptionReply(GO, wire.NBD_REP_INFO, info);
      p.write(...Array.from({ length: 1100 }, () => reply));
    },
    'does not end',
  ],
  [
    'another kind of reply',
    async (p) => {
      await untilGo(p);
      p.reply(GO, wire.NBD_REP_SERVER, Buffer.alloc(8));
      p.reply(GO, wire.NBD_REP_ACK);
    },
    'NBD_OPT_GO with NBD_REP_SERVER',
  ],
];

describe('a handshake with', () => {
  it.each([
    ['the smallest', [1, 512, 512]],
    ['the largest', [65536, 2 ** 31, 0xffffffff]],
    ['a maximum of all of the disk', [1, 2 ** 31, size]],
  ] as const)('%s block sizes succeeds', async (_what, [minimum, preferred, maximum]) => {
    const client = await connectTo(sizes(minimum, preferred, maximum));
    expect(client.info.blockSize).toEqual({ minimum, preferred, maximum });
  });

  it('a description in another encoding succeeds', async () => {
    const client = await connectTo(async (peer) => {
      await untilGo(peer);
      const told = { type: wire.NBD_INFO_EXPORT, size, flags: wire.NBD_FLAG_HAS_FLAGS } as const;
      peer.reply(GO, wire.NBD_REP_INFO, handshake.encodeInfo(told));
      peer.reply(GO, wire.NBD_REP_INFO, Buffer.from('0002636166e9', 'hex'));
      peer.reply(GO, wire.NBD_REP_ACK);
    });
    expect(client.info.size).toBe(size);
  });

  it.each(HANDSHAKES)('%s fails', async (_what, script, says) => {
    const failure = await failureOf(connectTo(script));
    expect(failure).toBeInstanceOf(ProtocolError);
    expect(failure.message).toContain(says);
  });

  it('a server that hangs ends in time', async () => {
    const { address } = await startScriptedServer((peer) => peer.forever());
    const connecting = NbdClient.connect({
      address,
      exportName: '',
      clock: systemClock,
      timeoutMs: 50,
    });
    expect((await failureOf(connecting)).message).toContain('took longer than 50 ms');
  });

  it('a server that hangs can be given up', async () => {
    const { address } = await startScriptedServer((peer) => peer.forever());
    const giveUp = new AbortController();
    const { signal } = giveUp;
    const connecting = NbdClient.connect({ address, exportName: '', clock: systemClock, signal });
    setTimeout(() => giveUp.abort(), 20);
    expect((await failureOf(connecting)).message).toContain('given up');
  });
});
