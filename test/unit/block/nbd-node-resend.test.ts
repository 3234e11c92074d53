import { describe, expect, it } from 'vitest';
import * as wire from '../../../protocol/nbd/constants.ts';
import type { NbdNode } from '../../../src/block/nbd-node.ts';
import {
  type Completion,
  WRITE_FUA,
  ZERO_MAY_UNMAP,
  ZERO_NO_FALLBACK,
} from '../../../src/block/node.ts';
import type { FileBytes } from '../../../src/util/file-bytes.ts';
import { KiB, TARGET_EFFECT_BYTES_MAX } from '../../../src/util/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { openNbdNode } from '../../support/open-nbd-node.ts';
import {
  EVERY_FLAG,
  GOOD_EXPORT,
  type Script,
  type ScriptedExport,
  startScriptedServer,
  wordsOf,
} from '../../support/scripted-server.ts';

type Disk = Partial<ScriptedExport>;

/** A node whose first server is as `before` and goes away, and a last one, as `after`, stays. */
async function open(
  before: Disk,
  goesAway: Script,
  after: Disk,
  between: readonly Script[] = [],
): Promise<{ node: NbdNode; clock: FakeClock; asked: string[] }> {
  const asked: string[] = [];
  const clock = new FakeClock();
  const { address } = await startScriptedServer(async (peer, connection) => {
    if (connection === 0) {
      await peer.negotiate({ ...GOOD_EXPORT, ...before });
      return goesAway(peer, connection);
    }
    if (connection <= between.length) return between[connection - 1]!(peer, connection);
    await peer.negotiate({ ...GOOD_EXPORT, ...after });
    await peer.serve((request) => {
      if (request.type !== wire.NBD_CMD_DISC) asked.push(wordsOf(request));
    });
  });
  const node = await openNbdNode(address.path, { clock, reconnectDelaySeconds: 100 });
  // Long enough for the connection not to count as one that is dropped at once.
  clock.advance(10_000);
  return { node, clock, asked };
}

const onFirstRequest: Script = async (peer) => {
  await peer.request();
};

const without = (flags: number): Disk => ({ flags: EVERY_FLAG & ~flags });
const small: Disk = { blockSize: { minimum: 512, preferred: 4 * KiB, maximum: 16 * KiB } };
const FUA = wire.NBD_CMD_FLAG_FUA;
const NO_HOLE = wire.NBD_CMD_FLAG_NO_HOLE;

const inFile = (length: number): FileBytes => ({
  length,
  failure: undefined,
  sendTo: () => 0,
  read: (_start, buffer) => void buffer.fill(1),
  end() {},
});

type Resent = [what: string, after: Disk, request: (node: NbdNode) => Completion, asked: string[]];

const RESENT: Resent[] = [
  [
    'the old maximum, to write',
    small,
    (node) => node.write(512, Buffer.alloc(20 * KiB)),
    ['WRITE 512+16384', 'WRITE 16896+4096'],
  ],
  [
    'the old maximum, to read',
    small,
    (node) => node.read(0, Buffer.alloc(20 * KiB)),
    ['READ 0+16384', 'READ 16384+4096'],
  ],
  [
    'the old maximum, for what is in a file',
    small,
    (node) => node.writeFile(0, inFile(20 * KiB)),
    ['WRITE 0+16384', 'WRITE 16384+4096'],
  ],
  [
    'FUA',
    without(wire.NBD_FLAG_SEND_FUA),
    (node) => node.write(0, Buffer.alloc(512), WRITE_FUA),
    ['WRITE 0+512', 'FLUSH 0+0'],
  ],
  [
    'write-zeroes',
    without(wire.NBD_FLAG_SEND_WRITE_ZEROES),
    (node) => node.writeZeroes(0, 512, WRITE_FUA),
    [`WRITE 0+512 flags ${FUA}`],
  ],
  [
    'fast zeroes, which the first may have made',
    without(wire.NBD_FLAG_SEND_FAST_ZERO),
    (node) => node.writeZeroes(0, 512, ZERO_NO_FALLBACK),
    [`WRITE_ZEROES 0+512 flags ${NO_HOLE}`],
  ],
  ['trimming', without(wire.NBD_FLAG_SEND_TRIM), (node) => node.discard(0, 512), []],
  ['caching', without(wire.NBD_FLAG_SEND_CACHE), (node) => node.prefetch(0, 512), []],
  ['flushing', without(wire.NBD_FLAG_SEND_FLUSH), (node) => node.flush(), []],
];

describe('a request that is sent again', () => {
  it.each(RESENT)(
    'to a server without %s becomes what it can do',
    async (_what, after, request, asked) => {
      const opened = await open({}, onFirstRequest, after);
      await request(opened.node);
      expect(opened.asked).toEqual(asked);
    },
  );

  it('makes use of what the new server can and the old one could not', async () => {
    const before = without(wire.NBD_FLAG_SEND_FUA | wire.NBD_FLAG_SEND_WRITE_ZEROES);
    const { node, asked } = await open(before, onFirstRequest, {});
    await node.writeZeroes(0, 512, ZERO_MAY_UNMAP | WRITE_FUA);
    expect(asked).toEqual([`WRITE_ZEROES 0+512 flags ${FUA}`]);
  });
});

describe('a long request that is cut', () => {
  it('goes on with the part of it that was lost', async () => {
    const part = TARGET_EFFECT_BYTES_MAX;
    const goesAway: Script = async (peer) => {
      peer.answer(await peer.request());
      await peer.request();
    };
    const { node, asked } = await open({ size: 2 * part }, goesAway, { size: 2 * part });
    await node.writeZeroes(0, 2 * part, ZERO_MAY_UNMAP);
    expect(asked).toEqual([`WRITE_ZEROES ${part}+${part}`]);
  });
});

describe('a FUA write to servers without FUA', () => {
  const noFua = without(wire.NBD_FLAG_SEND_FUA);
  const write = (node: NbdNode) => node.write(0, Buffer.alloc(512), WRITE_FUA);

  it.each<[string, Script]>([
    [
      'is lost',
      async (peer) => {
        peer.answer(await peer.request());
        await peer.request();
      },
    ],
    [
      'shuts down',
      async (peer) => {
        peer.answer(await peer.request());
        peer.simple(await peer.request(), wire.NBD_ESHUTDOWN);
      },
    ],
  ])('is written again when the first %s before the flush', async (_what, goesAway) => {
    const { node, asked } = await open(noFua, goesAway, noFua);
    await write(node);
    expect(asked).toEqual(['WRITE 0+512', 'FLUSH 0+0']);
  });

  it('is flushed once, after all of its parts', async () => {
    const { node, asked } = await open(noFua, onFirstRequest, { ...noFua, ...small });
    await node.write(0, Buffer.alloc(20 * KiB), WRITE_FUA);
    expect(asked).toEqual(['WRITE 0+16384', 'WRITE 16384+4096', 'FLUSH 0+0']);
  });
});

describe('a fast zero that has waited for a server', () => {
  it('is refused by one that has none', async () => {
    const noFastZero = without(wire.NBD_FLAG_SEND_FAST_ZERO);
    const refuses: Script = async () => {};
    const { node, clock, asked } = await open({}, onFirstRequest, noFastZero, [refuses]);
    const reading = node.read(0, Buffer.alloc(512));
    await expect.poll(() => node.unreachable).toContain('was closed by the peer');
    const zeroing = Promise.resolve(node.writeZeroes(0, 512, ZERO_NO_FALLBACK));
    const refused = expect(zeroing).rejects.toMatchObject({ code: 'ENOTSUP' });
    clock.advance(1000);
    await Promise.all([reading, refused]);
    expect(asked).toEqual(['READ 0+512']);
  });
});
