import { describe, expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { WRITE_FUA } from '../../../src/block/node.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

/** What the target answered and may have lost: which flush answers for which write. */
const MiB = 1 << 20;
const GRANULE = 65_536;
const A = 0;
const B = 4 * GRANULE;

/** Waits that the test ends, in the order in which they came. */
class Waits {
  readonly #ends: ((error?: Error) => void)[] = [];

  get count(): number {
    return this.#ends.length;
  }

  add(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#ends.push((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  end(index: number, error?: Error): void {
    this.#ends[index]!(error);
  }
}

const lost = () => Object.assign(new Error('lost'), { code: 'EIO' });

/** A write-blocking mirror of a caller's bitmap, READY, that ignores errors of its target. */
async function rigAndBitmap() {
  const rig = new MirrorRig({ size: MiB });
  const bitmap = rig.bitmap('b');
  const given = { bitmap: 'b', copyMode: 'write-blocking', onTargetError: 'ignore' } as const;
  const job = rig.mirror(given);
  await rig.ready();
  return { rig, bitmap, job };
}

/** Resolves when all that was due has run. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

describe('a durable write that fails on the target', () => {
  it('tells of what was written before it, also when the source is not done', async () => {
    const { rig, bitmap, job } = await rigAndBitmap();
    await rig.client.node.write(A, pattern(GRANULE, 1));
    const [onSource, onTarget] = [new Waits(), new Waits()];
    rig.source.meddle = (verb) => (verb === 'write' ? onSource.add() : undefined);
    rig.target.meddle = (verb) => (verb === 'write' ? onTarget.add() : undefined);
    const durable = rig.client.node.write(B, pattern(GRANULE, 2), WRITE_FUA);
    onTarget.end(0, lost());
    // At once: a flush may go well before the source has ended, and answer for what is lost.
    await expect.poll(() => onTarget.count).toBeGreaterThan(1);
    expect(rig.target.log.at(-1)).toBe(`write ${A}+${GRANULE}`);
    onSource.end(0);
    await durable;
    job.cancel({ force: true });
    await job.ended;
    expect(bitmap.isDirty(A)).toBe(true);
  });

  it('is waited for by a flush, whose loss it may have been told of', async () => {
    const { rig, bitmap, job } = await rigAndBitmap();
    await rig.client.node.write(A, pattern(GRANULE, 1));
    const onTarget = new Waits();
    rig.target.meddle = (verb) => (verb === 'write' ? onTarget.add() : undefined);
    const durable = rig.client.node.write(B, pattern(GRANULE, 2), WRITE_FUA);
    let flushed = false;
    const flush = Promise.resolve(rig.client.node.flush()).then(() => {
      flushed = true;
    });
    await settled();
    expect(flushed).toBe(false);
    onTarget.end(0, lost());
    await Promise.all([durable, flush]);
    await expect.poll(() => onTarget.count).toBeGreaterThan(1);
    job.cancel({ force: true });
    for (let n = 1; n < onTarget.count; n++) onTarget.end(n, lost());
    await job.ended;
    expect([bitmap.isDirty(A), bitmap.isDirty(B)]).toEqual([true, true]);
  });
});

it('a flush that fails speaks of what is on its way as well', async () => {
  const { rig, bitmap, job } = await rigAndBitmap();
  const onTarget = new Waits();
  rig.target.meddle = (verb) => (verb === 'write' ? onTarget.add() : undefined);
  const write = rig.client.node.write(A, pattern(GRANULE, 1));
  // A flush goes well before the server has carried the write out, and one fails after that.
  await rig.client.node.flush();
  rig.target.meddle = (verb) => {
    if (verb === 'flush') throw lost();
    return verb === 'write' ? onTarget.add() : undefined;
  };
  await rig.client.node.flush();
  rig.target.meddle = (verb) => (verb === 'write' ? onTarget.add() : undefined);
  onTarget.end(0);
  await write;
  await rig.client.node.flush();
  job.cancel({ force: true });
  for (let n = 1; n < onTarget.count; n++) onTarget.end(n, lost());
  await job.ended;
  expect(bitmap.isDirty(A)).toBe(true);
});

it.each(['cancelled by force', 'failed'])(
  'flushes that wait for one that hangs return when the mirror has %s',
  async (how) => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    rig.target.meddle = (verb) => {
      if (verb === 'write') throw lost();
      return new Promise(() => {});
    };
    const flushes = [1, 2, 3].map(() => Promise.resolve(rig.client.node.flush()));
    await settled();
    rig.target.log.length = 0;
    if (how === 'failed') await rig.client.node.write(A, pattern(GRANULE, 1));
    else job.cancel({ force: true });
    await Promise.all(flushes);
    await job.ended;
    // The others have not been sent to it.
    expect(rig.target.log).not.toContain('flush 0+0');
  },
);

it('what follows the source is not sent to the target of a mirror that has failed', async () => {
  const rig = new MirrorRig({ size: MiB });
  const job = rig.mirror({ copyMode: 'write-blocking' });
  await rig.ready();
  const onSource = new Waits();
  rig.source.meddle = (verb) => (verb === 'discard' ? onSource.add() : undefined);
  const discard = rig.client.node.discard(B, GRANULE);
  rig.target.meddle = () => {
    throw lost();
  };
  await rig.client.node.write(A, pattern(GRANULE, 1));
  await expect.poll(() => job.status).toBe('aborting');
  rig.target.log.length = 0;
  onSource.end(0);
  await Promise.all([discard, job.ended]);
  expect(rig.target.log).toEqual([]);
});

it('a forced cancel gets through while the end waits behind flushes of clients', async () => {
  const rig = new MirrorRig({ size: MiB });
  const job = rig.mirror({ copyMode: 'write-blocking' });
  await rig.ready();
  rig.target.meddle = () => new Promise(() => {});
  const flushes = [1, 2].map(() => Promise.resolve(rig.client.node.flush()));
  job.cancel({ force: false });
  await settled();
  job.cancel({ force: true });
  await Promise.all([...flushes, job.ended]);
});

it('a mirror that has failed leaves the connection to its target to others', async () => {
  const rig = new MirrorRig({ size: MiB });
  await rig.source.write(A, pattern(GRANULE, 1));
  rig.source.meddle = (verb) => {
    if (verb === 'read') throw lost();
  };
  const job = rig.mirror();
  await job.ended;
  expect([job.error, rig.target.cancelled]).toEqual(['Input/output error', 0]);
});

it('a flush at a target that hangs is no business of a mirror that has ended well', async () => {
  const rig = new MirrorRig({ size: MiB });
  const job = rig.mirror({ copyMode: 'write-blocking', autoFinalize: false });
  await rig.ready();
  job.cancel({ force: false });
  await rig.event('BLOCK_JOB_PENDING');
  rig.target.meddle = () => new Promise(() => {});
  const flushes = [1, 2].map(() => Promise.resolve(rig.client.node.flush()));
  await settled();
  job.finalize();
  await Promise.all([...flushes, job.ended]);
  expect(rig.story).not.toContain('BLOCK_JOB_ERROR');
});

it.each(['well', 'badly'])(
  'a flush that a pivot overtakes ends as the target’s: %s',
  async (how) => {
    const rig = new MirrorRig({ size: MiB });
    // Its filter stays, and comes to sit on what the clients move to.
    rig.mirror();
    await rig.ready();
    const disk = new ShakyNode(new MemoryNode('disk', { size: MiB }));
    rig.graph.add(disk);
    const given = { id: 'mirror1', target: disk, filterNodeName: 'other-top' };
    const job = rig.mirror({ ...given, copyMode: 'write-blocking', autoFinalize: false });
    await rig.event('BLOCK_JOB_READY', ({ data }) => 'device' in data && data.device === 'mirror1');
    job.complete();
    await rig.event('BLOCK_JOB_PENDING');
    const onDisk = new Waits();
    disk.meddle = (verb) => (verb === 'flush' ? onDisk.add() : undefined);
    let flushed = false;
    const flush = Promise.resolve(rig.client.node.flush()).finally(() => {
      flushed = true;
    });
    await settled();
    job.finalize();
    await job.ended;
    await settled();
    expect([job.error, flushed]).toEqual([undefined, false]);
    if (how === 'well') {
      onDisk.end(0);
      await flush;
    } else {
      // No later flush would tell of it again.
      onDisk.end(0, lost());
      await expect(flush).rejects.toThrow('Cannot flush');
    }
    expect(rig.story).not.toContain('BLOCK_JOB_ERROR');
    await rig.jobs.cancelAll();
  },
);

it('a flush does not wait for a durable request that has only begun on the source', async () => {
  const { rig, job } = await rigAndBitmap();
  const onSource = new Waits();
  rig.source.meddle = (verb) => (verb === 'discard' ? onSource.add() : undefined);
  const discard = rig.client.node.discard(A, GRANULE, WRITE_FUA);
  await rig.client.node.flush();
  onSource.end(0);
  await discard;
  job.cancel({ force: true });
  await job.ended;
});

it('a mirror relies on zeroes of its target only when these are on its disk', async () => {
  const rig = new MirrorRig({ size: MiB });
  rig.target.meddle = (verb) => {
    if (verb !== 'flush') return;
    rig.target.meddle = () => {};
    throw lost();
  };
  const job = rig.mirror();
  await rig.ready();
  expect(job.progressTotal).toBe(MiB);
  expect(rig.target.log.filter((entry) => entry.startsWith('zero'))).not.toEqual([]);
  await rig.jobs.cancelAll();
});
