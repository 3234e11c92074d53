import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import type { NbdNode } from '../../../src/block/nbd-node.ts';
import { WRITE_FUA, ZERO_MAY_UNMAP, ZERO_NO_FALLBACK } from '../../../src/block/node.ts';
import { GiB, MiB, TARGET_EFFECT_BYTES_MAX } from '../../../src/util/limits.ts';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { openNbdNode } from '../../support/open-nbd-node.ts';
import {
  EVERY_FLAG,
  GOOD_EXPORT,
  type ScriptedExport,
  type ScriptedPeer,
  type ScriptedRequest,
  startScriptedServer,
  statusPayload,
  wordsOf,
} from '../../support/scripted-server.ts';

/** A node, and what its server is asked. */
async function open(
  disk: Partial<ScriptedExport>,
  answer: (peer: ScriptedPeer, request: ScriptedRequest) => boolean = () => false,
  log = silentLog,
): Promise<{ node: NbdNode; asked: string[] }> {
  const asked: string[] = [];
  const { address } = await startScriptedServer(async (peer) => {
    await peer.negotiate({ ...GOOD_EXPORT, ...disk });
    for (;;) {
      const request = await peer.request();
      if (request.type === wire.NBD_CMD_DISC) return;
      asked.push(wordsOf(request));
      if (!answer(peer, request)) peer.answer(request);
    }
  });
  return { node: await openNbdNode(address.path, { log }), asked };
}

const FUA = wire.NBD_CMD_FLAG_FUA;
const NO_HOLE = wire.NBD_CMD_FLAG_NO_HOLE;
const FAST_ZERO = wire.NBD_CMD_FLAG_FAST_ZERO;
const without = (flags: number) => ({ flags: EVERY_FLAG & ~flags });

describe('a server that can do everything', () => {
  it('is asked to keep what was written when the node is closed', async () => {
    const { node, asked } = await open({});
    await node.close();
    expect(asked).toEqual(['FLUSH 0+0']);
  });

  it('is closed all the same when it cannot, and that is told', async () => {
    const told: string[] = [];
    const log: Log = {
      ...silentLog,
      error: (fields, message) => void told.push(`${message} ${JSON.stringify(fields)}`),
      child: () => log,
    };
    const failing = (peer: ScriptedPeer, request: ScriptedRequest) => {
      peer.simple(request, wire.NBD_EIO);
      return true;
    };
    const { node } = await open({}, failing, log);
    await node.close();
    expect(told).toEqual([expect.stringMatching(/not be on stable storage .*EIO/)]);
  });

  it('may refuse fast zeroes only while none is done', async () => {
    const size = 2 * TARGET_EFFECT_BYTES_MAX;
    const { node, asked } = await open({ size });
    await node.writeZeroes(0, size, ZERO_NO_FALLBACK);
    const rest = `${TARGET_EFFECT_BYTES_MAX}+${TARGET_EFFECT_BYTES_MAX}`;
    expect(asked).toEqual([
      `WRITE_ZEROES 0+${TARGET_EFFECT_BYTES_MAX} flags ${NO_HOLE | FAST_ZERO}`,
      `WRITE_ZEROES ${rest} flags ${NO_HOLE}`,
    ]);
  });

  it('is asked as the request was meant', async () => {
    const { node, asked } = await open({});
    await node.write(0, Buffer.alloc(512), WRITE_FUA);
    await node.writeZeroes(0, 512);
    await node.writeZeroes(0, 512, ZERO_MAY_UNMAP | WRITE_FUA);
    await node.writeZeroes(0, 512, ZERO_MAY_UNMAP | ZERO_NO_FALLBACK);
    await node.discard(0, 512, WRITE_FUA);
    await node.prefetch(0, 512);
    await node.flush();
    expect(asked).toEqual([
      `WRITE 0+512 flags ${FUA}`,
      `WRITE_ZEROES 0+512 flags ${NO_HOLE}`,
      `WRITE_ZEROES 0+512 flags ${FUA}`,
      `WRITE_ZEROES 0+512 flags ${FAST_ZERO}`,
      `TRIM 0+512 flags ${FUA}`,
      'CACHE 0+512',
      'FLUSH 0+0',
    ]);
    expect(node.features).toEqual({
      discard: true,
      fastZero: true,
      cheapZero: true,
      freeStatus: false,
    });
  });
});

describe('a server that lacks', () => {
  it('FUA is flushed afterwards', async () => {
    const { node, asked } = await open(without(wire.NBD_FLAG_SEND_FUA));
    await node.write(0, Buffer.alloc(512), WRITE_FUA);
    expect(asked).toEqual(['WRITE 0+512', 'FLUSH 0+0']);
  });

  it('FUA and flushing is left alone', async () => {
    const { node, asked } = await open(without(wire.NBD_FLAG_SEND_FUA | wire.NBD_FLAG_SEND_FLUSH));
    await node.write(0, Buffer.alloc(512), WRITE_FUA);
    await node.flush();
    expect(asked).toEqual(['WRITE 0+512']);
  });

  it('trimming is not asked to', async () => {
    const { node, asked } = await open(without(wire.NBD_FLAG_SEND_TRIM));
    await node.discard(0, 512);
    expect(asked).toEqual([]);
    expect(node.features.discard).toBe(false);
  });

  it('caching is not asked to', async () => {
    const { node, asked } = await open(without(wire.NBD_FLAG_SEND_CACHE));
    await node.prefetch(0, 512);
    expect(asked).toEqual([]);
  });

  it('write-zeroes gets zeroes', async () => {
    const payloads: boolean[] = [];
    const { node, asked } = await open(
      without(wire.NBD_FLAG_SEND_WRITE_ZEROES),
      (_peer, { payload }) => {
        payloads.push(payload.equals(Buffer.alloc(payload.length)));
        return false;
      },
    );
    await node.writeZeroes(512, 300 * 1024, WRITE_FUA | ZERO_MAY_UNMAP);
    expect(asked).toEqual([`WRITE 512+262144 flags 1`, `WRITE 262656+45056 flags 1`]);
    expect(payloads).toEqual([true, true]);
  });

  it.each([
    ['write-zeroes', wire.NBD_FLAG_SEND_WRITE_ZEROES],
    ['fast zeroes', wire.NBD_FLAG_SEND_FAST_ZERO],
  ])('%s is not asked for fast ones', async (_what, flag) => {
    const { node, asked } = await open(without(flag));
    await expect(async () => node.writeZeroes(0, 512, ZERO_NO_FALLBACK)).rejects.toMatchObject({
      code: 'ENOTSUP',
    });
    expect(asked).toEqual([]);
    expect(node.features.fastZero).toBe(false);
  });

  it('base:allocation has data everywhere', async () => {
    const { node, asked } = await open({ contexts: [] });
    const everything = { offset: 4096, length: 8192, hole: false, zero: false };
    expect(await node.blockStatus(4096, 8192, 10)).toEqual([everything]);
    expect(asked).toEqual([]);
  });
});

describe('the extents of a node', () => {
  async function statusOf(
    extents: [length: number, flags: number][],
    range: [offset: number, length: number, max: number],
  ) {
    const { node, asked } = await open({}, (peer, request) => {
      peer.chunk(request, wire.NBD_REPLY_TYPE_BLOCK_STATUS, statusPayload(7, ...extents));
      return true;
    });
    return { found: await node.blockStatus(...range), asked };
  }

  it('say what the flags say', async () => {
    const { found } = await statusOf(
      [
        [512, 0],
        [512, wire.NBD_STATE_HOLE],
        [512, wire.NBD_STATE_ZERO],
        [512, wire.NBD_STATE_HOLE | wire.NBD_STATE_ZERO],
      ],
      [0, 2048, 10],
    );
    expect(found).toEqual([
      { offset: 0, length: 512, hole: false, zero: false },
      { offset: 512, length: 512, hole: true, zero: false },
      { offset: 1024, length: 512, hole: false, zero: true },
      { offset: 1536, length: 512, hole: true, zero: true },
    ]);
  });

  it('are cut to the range, and neighbours that are alike are one', async () => {
    const { found, asked } = await statusOf(
      [
        [1024, 3],
        [1024, 3],
        [2 ** 20, 0],
      ],
      [700, 2500, 10],
    );
    expect(asked).toEqual(['BLOCK_STATUS 512+3072']);
    expect(found).toEqual([
      { offset: 700, length: 512 + 2048 - 700, hole: true, zero: true },
      { offset: 2560, length: 640, hole: false, zero: false },
    ]);
  });

  it('are no more than asked for', async () => {
    const extents: [number, number][] = [
      [512, 0],
      [512, 3],
      [512, 0],
    ];
    expect((await statusOf(extents, [0, 4096, 2])).found).toHaveLength(2);
    const { asked } = await statusOf([[512, 0]], [0, 4096, 1]);
    expect(asked).toEqual([`BLOCK_STATUS 0+4096 flags ${wire.NBD_CMD_FLAG_REQ_ONE}`]);
  });

  it('are asked for by 2 GiB, until the server finds that too long', async () => {
    const disk = { size: 8 * GiB };
    const { node, asked } = await open(disk, (peer, request) => {
      if (request.length > GiB) peer.simple(request, wire.NBD_EINVAL);
      else {
        const extent = statusPayload(7, [request.length, wire.NBD_STATE_ZERO]);
        peer.chunk(request, wire.NBD_REPLY_TYPE_BLOCK_STATUS, extent);
      }
      return true;
    });
    expect(await node.blockStatus(0, 8 * GiB, 10)).toMatchObject([{ length: 128 * MiB }]);
    await node.blockStatus(GiB, GiB, 10);
    expect(asked).toEqual([
      `BLOCK_STATUS 0+${2 * GiB}`,
      `BLOCK_STATUS 0+${128 * MiB}`,
      `BLOCK_STATUS ${GiB}+${128 * MiB}`,
    ]);
  });
});

describe('the sizes of a server', () => {
  const blockSize = { minimum: 1024, preferred: 65536, maximum: 100_000 };

  it('are the limits of the node', async () => {
    const { node } = await open({ blockSize });
    expect(node.limits).toEqual({
      requestAlignment: 1024,
      preferredBytes: 65536,
      transferBytesMax: 97 * 1024,
    });
  });

  it('are sectors and 32 MiB when it does not tell them', async () => {
    const { node } = await open({});
    expect(node.limits).toMatchObject({ requestAlignment: 512, transferBytesMax: 32 * MiB });
    const odd = await open({ size: 4 * MiB + 1 });
    expect(odd.node.limits.requestAlignment).toBe(1);
  });

  it('no limit is 32 MiB all the same', async () => {
    const unlimited = { ...blockSize, preferred: 2 ** 31, maximum: 0xffffffff };
    const { node } = await open({ blockSize: unlimited });
    expect(node.limits.transferBytesMax).toBe(32 * MiB);
    expect(node.limits.preferredBytes).toBe(32 * MiB);
  });

  it('cut what is longer than its longest payload', async () => {
    const { node, asked } = await open({ blockSize });
    await node.read(1024, Buffer.alloc(200 * 1024));
    await node.write(0, Buffer.alloc(98 * 1024), WRITE_FUA);
    expect(asked).toEqual([
      'READ 1024+99328',
      'READ 100352+99328',
      'READ 199680+6144',
      `WRITE 0+99328 flags ${FUA}`,
      `WRITE 99328+1024 flags ${FUA}`,
    ]);
  });

  it('make parts of blocks be read first', async () => {
    const { node, asked } = await open({ blockSize });
    await node.write(100, Buffer.alloc(10));
    await node.read(1000, Buffer.alloc(100));
    expect(asked).toEqual(['READ 0+1024', 'WRITE 0+1024', 'READ 0+1024', 'READ 1024+1024']);
  });

  it('do not bound what has no payload, until the server says so', async () => {
    const { node, asked } = await open({ blockSize }, (peer, request) => {
      if (request.length <= blockSize.maximum) return false;
      peer.simple(request, wire.NBD_EOVERFLOW);
      return true;
    });
    await node.writeZeroes(0, 150 * 1024, ZERO_MAY_UNMAP);
    await node.discard(0, 100 * 1024);
    expect(asked).toEqual([
      'WRITE_ZEROES 0+153600',
      'WRITE_ZEROES 0+99328',
      'WRITE_ZEROES 99328+54272',
      'TRIM 0+99328',
      'TRIM 99328+3072',
    ]);
  });

  it('are not blamed for other errors', async () => {
    const { node, asked } = await open({ blockSize }, (peer, request) => {
      peer.simple(request, wire.NBD_EINVAL);
      return true;
    });
    await expect(node.discard(0, 1024)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(asked).toEqual(['TRIM 0+1024']);
  });
});
