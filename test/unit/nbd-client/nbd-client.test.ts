import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import { encodeErrorChunk } from '../../../protocol/nbd/transmission.ts';
import { ConnectionLost, NbdClient } from '../../../src/nbd-client/nbd-client.ts';
import { systemClock } from '../../../src/util/clock.ts';
import {
  GiB,
  KiB,
  MiB,
  TARGET_GOODBYE_MS_MAX,
  TARGET_IN_FLIGHT_REQUESTS_MAX,
  TARGET_STATUS_EXTENTS_MAX,
  TARGET_STATUS_EXTENTS_READ_MAX,
} from '../../../src/util/limits.ts';
import type { Pending } from '../../../src/util/pending.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import {
  GOOD_EXPORT,
  holePayload,
  type Script,
  type ScriptedPeer,
  type ScriptedRequest,
  startScriptedServer,
  statusPayload,
} from '../../support/scripted-server.ts';

async function connectTo(script: Script, contexts?: readonly string[]): Promise<NbdClient> {
  const { address } = await startScriptedServer(script);
  const options = { address, exportName: 'disk', clock: systemClock, owner: 'node "t"' };
  return NbdClient.connect(contexts === undefined ? options : { ...options, contexts });
}

/** A good server that sees each request and may answer it itself (by returning true). */
function serving(answer: (peer: ScriptedPeer, request: ScriptedRequest) => boolean): Script {
  return async (peer) => {
    await peer.negotiate();
    for (;;) {
      const request = await peer.request();
      if (request.type === wire.NBD_CMD_DISC) return;
      if (!answer(peer, request)) peer.answer(request);
    }
  };
}

describe('the client', () => {
  it('sends each command as the protocol writes it', async () => {
    const seen: object[] = [];
    const client = await connectTo(
      serving((peer, request) => {
        const { type, flags, offset, length, payload } = request;
        seen.push({ type, flags, offset, length, payload: payload.toString() });
        if (type !== wire.NBD_CMD_BLOCK_STATUS) return false;
        peer.chunk(request, wire.NBD_REPLY_TYPE_BLOCK_STATUS, statusPayload(7, [8192, 3]));
        return true;
      }),
    );
    await client.read(4096, Buffer.alloc(512));
    await client.write(512, Buffer.from('hello'), true);
    await client.writeZeroes(0, 4096, { noHole: true });
    await client.trim(4096, 8192);
    await client.flush();
    await client.cache(0, 512);
    expect(await client.blockStatus(0, 4096)).toEqual([
      { contextId: 7, extents: [{ length: 8192, flags: 3 }] },
    ]);
    expect(seen).toEqual([
      { type: 0, flags: 0, offset: 4096, length: 512, payload: '' },
      { type: 1, flags: 1, offset: 512, length: 5, payload: 'hello' },
      { type: 6, flags: 2, offset: 0, length: 4096, payload: '' },
      { type: 4, flags: 0, offset: 4096, length: 8192, payload: '' },
      { type: 3, flags: 0, offset: 0, length: 0, payload: '' },
      { type: 5, flags: 0, offset: 0, length: 512, payload: '' },
      { type: 7, flags: 0, offset: 0, length: 4096, payload: '' },
    ]);
  });

  it('looks at the first of very many extents', async () => {
    const sectors = Buffer.alloc(8 * TARGET_STATUS_EXTENTS_MAX, '0000020000000000', 'hex');
    const payload = Buffer.concat([statusPayload(7), sectors]);
    const client = await connectTo(
      serving((peer, request) => {
        if (request.type !== wire.NBD_CMD_BLOCK_STATUS) return false;
        peer.chunk(request, wire.NBD_REPLY_TYPE_BLOCK_STATUS, payload);
        return true;
      }),
    );
    const [status] = await client.blockStatus(0, GiB);
    expect(status!.extents).toHaveLength(TARGET_STATUS_EXTENTS_READ_MAX);
    await client.flush();
  });

  it('takes answers in any order', async () => {
    const held: ScriptedRequest[] = [];
    const client = await connectTo(
      serving((peer, request) => {
        held.push(request);
        if (held.length < 3) return true;
        for (const one of held.reverse()) peer.answer(one, one.offset / 512);
        return true;
      }),
    );
    const buffers = [1, 2, 3].map(() => Buffer.alloc(512));
    await Promise.all(buffers.map((buffer, index) => client.read((index + 1) * 512, buffer)));
    expect(buffers.map((buffer) => [buffer[0], buffer[511]])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });

  it('takes any number of chunks of which only the first is late', async () => {
    const [length, part] = [2 * MiB, 512];
    const content = Buffer.from(Array.from({ length }, (_, at) => at % 251));
    const client = await connectTo(
      serving((peer, request) => {
        if (request.type !== wire.NBD_CMD_READ) return false;
        for (let at = part; at < length; at += part) {
          peer.data(request, at, content.subarray(at, at + part), false);
        }
        peer.data(request, 0, content.subarray(0, part));
        return true;
      }),
    );
    const buffer = Buffer.alloc(length);
    await client.read(0, buffer);
    expect(buffer.equals(content)).toBe(true);
  });

  it('puts a reply together from chunks in any order, and fills holes', async () => {
    const client = await connectTo(
      serving((peer, request) => {
        const hole = wire.NBD_REPLY_TYPE_OFFSET_HOLE;
        peer.data(request, 3072, Buffer.alloc(1024, 3), false);
        peer.chunk(request, hole, holePayload(1024, 2048), false);
        peer.data(request, 0, Buffer.alloc(1024, 1), false);
        peer.chunk(request, wire.NBD_REPLY_TYPE_NONE, Buffer.alloc(0));
        return true;
      }),
    );
    const buffer = Buffer.alloc(4096, 0xff);
    await client.read(0, buffer);
    const expected = Buffer.alloc(4096).fill(1, 0, 1024).fill(3, 3072);
    expect(buffer.equals(expected)).toBe(true);
  });

  it('receives long data whole', async () => {
    const client = await connectTo(serving(() => false));
    const buffer = Buffer.alloc(3 * MiB, 1);
    await client.read(0, buffer);
    expect(buffer.equals(Buffer.alloc(3 * MiB))).toBe(true);
  });

  it.each([1, 32 * KiB, 32 * KiB + 1, 3 * MiB])(
    'sends %i bytes of payload whole',
    async (bytes) => {
      const sent = Buffer.alloc(bytes, 'payload');
      let got: Buffer | undefined;
      const client = await connectTo(
        serving((_peer, request) => {
          if (request.type === wire.NBD_CMD_WRITE) got = request.payload;
          return false;
        }),
      );
      await Promise.all([client.flush(), client.write(0, sent), client.flush()]);
      expect(got!.equals(sent)).toBe(true);
    },
  );

  it('holds back what is too many requests at a time, first come first served', async () => {
    const seen: number[] = [];
    const requests = 3 * TARGET_IN_FLIGHT_REQUESTS_MAX;
    const held: ScriptedRequest[] = [];
    const client = await connectTo(
      serving((peer, request) => {
        seen.push(request.offset / 512);
        held.push(request);
        if (held.length < TARGET_IN_FLIGHT_REQUESTS_MAX) return true;
        for (const one of held.splice(0)) peer.answer(one);
        return true;
      }),
    );
    const indexes = Array.from({ length: requests }, (_, index) => index);
    await Promise.all(indexes.map((index) => client.read(index * 512, Buffer.alloc(512))));
    expect(seen).toEqual(indexes);
  });

  it('tells the error and the words of the server', async () => {
    const client = await connectTo(
      serving((peer, request) => {
        const chunk = encodeErrorChunk({ error: wire.NBD_ENOSPC, message: 'the disk is full' });
        peer.chunk(request, wire.NBD_REPLY_TYPE_ERROR, chunk);
        return true;
      }),
    );
    await expect(client.write(512, Buffer.alloc(1024))).rejects.toMatchObject({
      name: 'BlockError',
      code: 'ENOSPC',
      message: expect.stringMatching(
        /^Cannot write 1024 bytes at 512 on node "t": .* answered NBD_ENOSPC \(the disk is full\)$/,
      ),
    });
    expect(client.isUsable).toBe(true);
  });

  it('fails a read whose data was followed by an error', async () => {
    const client = await connectTo(
      serving((peer, request) => {
        const error = { error: wire.NBD_EIO, message: '', offset: 1024 };
        peer.data(request, 0, Buffer.alloc(2048), false);
        peer.chunk(request, wire.NBD_REPLY_TYPE_ERROR_OFFSET, encodeErrorChunk(error));
        return true;
      }),
    );
    await expect(client.read(0, Buffer.alloc(4096))).rejects.toMatchObject({ code: 'EIO' });
    expect(client.isUsable).toBe(true);
  });

  it.each([
    [wire.NBD_EPERM, 'EPERM'],
    [wire.NBD_ENOTSUP, 'ENOTSUP'],
    [4711, 'EINVAL'],
  ])('takes error %i of a simple reply for %s', async (error, code) => {
    const client = await connectTo(
      serving((peer, request) => {
        peer.simple(request, error);
        return true;
      }),
    );
    const zeroing = client.writeZeroes(0, 512, { fast: true });
    await expect(zeroing).rejects.toMatchObject({ code });
  });

  it('leaves a server that shuts down, and fails what it refused as lost', async () => {
    let disconnected = false;
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      const [first, second] = [await peer.request(), await peer.request()];
      peer.simple(first, wire.NBD_ESHUTDOWN);
      peer.simple(second, 0);
      disconnected = (await peer.request()).type === wire.NBD_CMD_DISC;
    });
    const refused = client.flush();
    const answered = client.flush();
    await expect(refused).rejects.toBeInstanceOf(ConnectionLost);
    await answered;
    expect((await client.closed)?.message).toContain('is shutting down');
    expect(disconnected).toBe(true);
  });

  it('sends no more to a server that shuts down, but its goodbye', async () => {
    const more = 10;
    const types: number[] = [];
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      for (;;) {
        const request = await peer.request();
        types.push(request.type);
        if (request.type === wire.NBD_CMD_DISC) return;
        peer.simple(request, wire.NBD_ESHUTDOWN);
      }
    });
    const asked = TARGET_IN_FLIGHT_REQUESTS_MAX + more;
    const refused = await Promise.allSettled(Array.from({ length: asked }, () => client.flush()));
    for (const one of refused) expect(one).toMatchObject({ reason: expect.any(ConnectionLost) });
    await client.closed;
    expect(types).toHaveLength(TARGET_IN_FLIGHT_REQUESTS_MAX + 1);
    expect(types.at(-1)).toBe(wire.NBD_CMD_DISC);
  });

  it('says goodbye when everything has been answered', async () => {
    const types: number[] = [];
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      await peer.serve((request) => types.push(request.type));
    });
    const writing = client.write(0, Buffer.alloc(MiB));
    await Promise.all([client.close(), writing]);
    expect(types).toEqual([wire.NBD_CMD_WRITE, wire.NBD_CMD_DISC]);
    expect(await client.closed).toBeUndefined();
    await expect(client.flush()).rejects.toBeInstanceOf(ConnectionLost);
  });

  it('does not wait for ever for a server that does not answer', async () => {
    const clock = new FakeClock();
    const { address } = await startScriptedServer(async (peer) => {
      await peer.negotiate();
      await peer.forever();
    });
    const client = await NbdClient.connect({ address, exportName: '', clock });
    const reading = client.read(0, Buffer.alloc(512));
    const closing = client.close();
    clock.advance(TARGET_GOODBYE_MS_MAX);
    await expect(reading).rejects.toBeInstanceOf(ConnectionLost);
    await closing;
  });

  it('fails everything at once when it is aborted', async () => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      await peer.forever();
    });
    const requests = Array.from({ length: 100 }, () => client.flush());
    client.abort(new Error('enough'));
    for (const one of await Promise.allSettled(requests)) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'EIO' } });
    }
    expect((await client.closed)?.message).toBe('enough');
  });

  it('needs small payloads until they are sent, long ones until the system has them', async () => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      await peer.forever();
    });
    const keepsData = (work: Promise<void>) => {
      void work.catch(() => {});
      return (work as Pending).keepsData;
    };
    expect(keepsData(client.write(0, Buffer.alloc(4096)))).toBe(false);
    expect(keepsData(client.write(0, Buffer.alloc(32 * MiB)))).toBe(true);
    expect(keepsData(client.read(0, Buffer.alloc(4096)))).toBe(true);
    for (let at = 3; at < TARGET_IN_FLIGHT_REQUESTS_MAX; at++) void client.flush().catch(() => {});
    expect(keepsData(client.write(0, Buffer.alloc(4096)))).toBe(true);
    client.abort(new Error('enough'));
  });

  it('does not give a payload back before the system has taken it', async () => {
    let received = 0;
    const client = await connectTo(async (peer) => {
      await peer.negotiate();
      const header = await peer.read(28);
      const [cookieHigh, cookieLow] = [header.readUInt32BE(8), header.readUInt32BE(12)];
      // Refuses before it has seen the payload.
      peer.simple({ cookieHigh, cookieLow } as ScriptedRequest, wire.NBD_EINVAL);
      await peer.forever((bytes) => {
        received += bytes;
      });
    });
    const writing = client.write(0, Buffer.alloc(32 * MiB, 1));
    await expect(writing).rejects.toMatchObject({ code: 'EINVAL' });
    // All but what stands in the socket.
    expect(received).toBeGreaterThan(24 * MiB);
  });
});

describe('the handshake of the client', () => {
  it('learns size, flags, limits and contexts', async () => {
    const blockSize = { minimum: 512, preferred: 65536, maximum: 2 ** 20 };
    const client = await connectTo((peer) => peer.negotiate({ ...GOOD_EXPORT, blockSize }));
    const { size, structured, contexts } = GOOD_EXPORT;
    const abilities = {
      readOnly: false,
      flush: true,
      fua: true,
      trim: true,
      writeZeroes: true,
      fastZero: true,
      cache: true,
    };
    expect(client.info).toEqual({ size, structured, contexts, blockSize, abilities });
  });

  it('asks for the contexts that it is told', async () => {
    const name = 'qemu:dirty-bitmap:b0';
    const contexts = [{ id: 3, name }];
    const client = await connectTo((peer) => peer.negotiate({ ...GOOD_EXPORT, contexts }), [name]);
    expect(client.info.contexts).toEqual(contexts);
  });

  it('goes on without structured replies', async () => {
    const client = await connectTo(async (peer) => {
      await peer.negotiate({ ...GOOD_EXPORT, structured: false });
      await peer.serve();
    });
    expect(client.info).toMatchObject({ structured: false, contexts: [] });
    await client.read(0, Buffer.alloc(4096));
  });

  it.each([
    ['with', 2, 0],
    ['without', 0, 124],
  ])('falls back to EXPORT_NAME, %s NO_ZEROES', async (_what, noZeroes, padding) => {
    const client = await connectTo(async (peer) => {
      await peer.greet(1 | noZeroes);
      await peer.answerStructured(false);
      await peer.expectOption(wire.NBD_OPT_GO);
      peer.reply(wire.NBD_OPT_GO, wire.NBD_REP_ERR_UNSUP);
      const name = await peer.expectOption(wire.NBD_OPT_EXPORT_NAME);
      if (name.toString() !== 'disk') throw new Error('wrong export');
      peer.write(Buffer.from('00000000004000000005', 'hex'), Buffer.alloc(padding));
      await peer.serve();
    });
    expect(client.info).toMatchObject({ size: 4 * MiB, blockSize: undefined });
    expect(client.info.abilities).toMatchObject({ flush: true, fua: false });
    await client.read(0, Buffer.alloc(4096));
  });

  it('uses nothing but EXPORT_NAME with plain newstyle', async () => {
    let flags: number | undefined;
    const client = await connectTo(async (peer) => {
      flags = await peer.greet(0);
      await peer.expectOption(wire.NBD_OPT_EXPORT_NAME);
      peer.write(Buffer.from('00000000004000000001', 'hex'), Buffer.alloc(124));
      await peer.serve();
    });
    expect(flags).toBe(0);
    await client.read(0, Buffer.alloc(4096));
  });

  it('names the export that an old server refuses by closing', async () => {
    const connecting = connectTo(async (peer) => {
      await peer.greet(0);
      await peer.option();
    });
    await expect(connecting).rejects.toThrow(/closed the connection when asked for export "disk"/);
  });

  it('tells why the export was refused, and says goodbye', async () => {
    let aborted = false;
    const connecting = connectTo(async (peer) => {
      await peer.greet();
      await peer.answerStructured(true);
      await peer.answerContexts([]);
      await peer.expectOption(wire.NBD_OPT_GO);
      peer.reply(wire.NBD_OPT_GO, wire.NBD_REP_ERR_UNKNOWN, Buffer.from('never heard of it'));
      aborted = (await peer.option()).option === wire.NBD_OPT_ABORT;
    });
    await expect(connecting).rejects.toThrow(/refuses export "disk": never heard of it$/);
    await expect.poll(() => aborted).toBe(true);
  });

  it('says that a server requires TLS', async () => {
    const connecting = connectTo(async (peer) => {
      await peer.greet();
      const { option } = await peer.option();
      peer.reply(option, wire.NBD_REP_ERR_TLS_REQD);
      await peer.option();
    });
    await expect(connecting).rejects.toThrow(/requires TLS, which is not supported/);
  });

  it('believes in fast zeroes only where there are zeroes', async () => {
    const flags = wire.NBD_FLAG_HAS_FLAGS | wire.NBD_FLAG_SEND_FAST_ZERO;
    const client = await connectTo((peer) => peer.negotiate({ ...GOOD_EXPORT, flags }));
    expect(client.info.abilities).toMatchObject({ writeZeroes: false, fastZero: false });
  });
});
