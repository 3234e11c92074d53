import { describe, expect, it } from 'vitest';
import { ZERO_NO_FALLBACK } from '../../../src/block/node.ts';
import { areEqual, contents, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import type { Verb } from '../../support/shaky-node.ts';

const MiB = 1 << 20;
const GRANULE = 65536;
const eio = () => {
  throw Object.assign(new Error('the disk is on fire'), { code: 'EIO' });
};
const enospc = () => {
  throw Object.assign(new Error('full'), { code: 'ENOSPC' });
};

/** Fails the requests of one kind, the first `times` of them, from the n-th on. */
function failing(verb: Verb, options: { from?: number; times?: number; with?: () => never } = {}) {
  const { from = 0, times = Number.POSITIVE_INFINITY } = options;
  let seen = 0;
  return (actual: Verb) => {
    if (actual !== verb) return;
    const index = seen++;
    if (index >= from && index < from + times) (options.with ?? eio)();
  };
}

describe('an error of the job, by policy', () => {
  it.each([
    ['source', 'read', 'read'],
    ['target', 'write', 'write'],
  ] as const)('report: a %s error ends the job with strerror', async (side, verb, operation) => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig[side].meddle = failing(verb, { times: 1 });
    const job = rig.mirror();
    await job.ended;
    expect(rig.story).toEqual([
      'S:created',
      'S:running',
      'BLOCK_JOB_ERROR',
      'S:aborting',
      'BLOCK_JOB_COMPLETED',
      'S:concluded',
      'S:null',
    ]);
    const error = await rig.event('BLOCK_JOB_ERROR');
    expect(error.data).toMatchObject({ operation, action: 'report', 'x-side': side });
    expect(error.data['x-offset']).toBe(0);
    const end = await rig.event('BLOCK_JOB_COMPLETED');
    expect(end.data.error).toBe('Input/output error');
    expect(rig.client.node).toBe(rig.source);
  });

  it('ignore: tries again, backing off, until it works', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig.target.meddle = failing('write', { times: 3 });
    rig.mirror({ onTargetError: 'ignore' });
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    expect(rig.story.filter((event) => event === 'BLOCK_JOB_ERROR')).toHaveLength(3);
    await rig.jobs.cancelAll();
  });

  it('ignore: does not spin on an error that stays', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(GRANULE, 1));
    rig.target.meddle = failing('write');
    rig.mirror({ onTargetError: 'ignore' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const errors = rig.story.filter((event) => event === 'BLOCK_JOB_ERROR');
    // 10, 20, 40, 80, 160 ms apart; a loop without back-off makes thousands.
    expect(errors.length).toBeLessThan(10);
    await rig.jobs.cancelAll();
  });

  it.each([
    ['stop', eio, 'failed'],
    ['enospc', enospc, 'nospace'],
    ['auto', enospc, 'nospace'],
  ] as const)('%s: pauses, and goes on after a resume', async (policy, error, ioStatus) => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig.target.meddle = failing('write', { times: 1, with: error });
    const job = rig.mirror({ onTargetError: policy });
    await rig.event('JOB_STATUS_CHANGE', (event) => event.data.status === 'paused');
    expect([job.ioStatus, job.userPaused]).toEqual([ioStatus, true]);
    job.resume();
    expect(job.ioStatus).toBe('ok');
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('enospc: reports what is not a full disk', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig.target.meddle = failing('write');
    await rig.mirror({ onTargetError: 'enospc' }).ended;
    expect(rig.story).toContain('BLOCK_JOB_COMPLETED');
  });
});

describe("a caller's bitmap after a failure", () => {
  it('holds everything that is not on the target, also the rest of a broken run', async () => {
    const rig = new MirrorRig({ size: 64 * GRANULE });
    await rig.source.write(0, pattern(64 * GRANULE, 1));
    const bitmap = rig.bitmap('b0', [[0, 64 * GRANULE]]);
    rig.target.meddle = failing('write', { from: 2, times: 1 });
    await rig.mirror({ bitmap: 'b0', speed: 10 * GRANULE }).ended;
    const [source, target] = [await contents(rig.source.disk), await contents(rig.target.disk)];
    for (let at = 0; at < source.length; at += GRANULE) {
      const equal = source.subarray(at, at + GRANULE).equals(target.subarray(at, at + GRANULE));
      expect(equal || bitmap.isDirty(at)).toBe(true);
    }
    expect(bitmap.isClean).toBe(false);
    expect([bitmap.busy, bitmap.enabled]).toEqual([false, true]);
    rig.target.meddle = () => {};
    rig.events.length = 0;
    rig.mirror({ bitmap: 'b0' });
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  // Claims grow over zeroes: the one that comes to data takes only some of it.
  const zeroesThenData = async () => {
    const size = 256 * GRANULE;
    const rig = new MirrorRig({ size });
    await rig.source.write(size / 2, pattern(size / 2, 1));
    await rig.target.write(0, pattern(size, 2));
    return { rig, bitmap: rig.bitmap('b0', [[0, size]]) };
  };

  it('has lost nothing of a claim that was longer than what one copy takes', async () => {
    const { rig } = await zeroesThenData();
    rig.mirror({ bitmap: 'b0' });
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('holds the rest of such a claim, when its first part fails', async () => {
    const { rig, bitmap } = await zeroesThenData();
    rig.target.meddle = failing('write', { times: 1 });
    await rig.mirror({ bitmap: 'b0', bufSize: GRANULE }).ended;
    const [source, target] = [await contents(rig.source.disk), await contents(rig.target.disk)];
    for (let at = 0; at < source.length; at += GRANULE) {
      const equal = source.subarray(at, at + GRANULE).equals(target.subarray(at, at + GRANULE));
      expect(bitmap.isDirty(at), `granule ${at / GRANULE}`).toBe(!equal);
    }
  });

  // Every other granule: each is a copy of its own, and one is answered before the next begins.
  const everyOther: [number, number][] = [0, 2, 4, 6, 8, 10, 12, 14].map((at) => [at * GRANULE, 1]);

  it.each([
    ['lost', true, false, 8],
    ['hangs', false, true, 8],
    ['there', false, false, 6],
  ])(
    'counts what was answered and not flushed when the target is %s',
    async (_what, lost, hangs, left) => {
      const rig = new MirrorRig({ size: 16 * GRANULE });
      await rig.source.write(0, pattern(16 * GRANULE, 1));
      const bitmap = rig.bitmap('b0', everyOther);
      const fails = failing('write', {
        from: 2,
        with: () => {
          rig.target.lost = lost;
          return eio();
        },
      });
      rig.target.meddle = (verb) =>
        hangs && verb === 'flush' ? new Promise(() => {}) : fails(verb);
      await rig.mirror({ bitmap: 'b0', bufSize: GRANULE }).ended;
      expect(bitmap.count).toBe(left * GRANULE);
    },
  );

  it.each([
    ['lost', true, false, 8],
    ['hangs', false, true, 8],
    ['there', false, false, 6],
  ])('counts it after a forced cancel, too, when it is %s', async (_what, lost, hangs, left) => {
    const rig = new MirrorRig({ size: 16 * GRANULE });
    await rig.source.write(0, pattern(16 * GRANULE, 1));
    const bitmap = rig.bitmap('b0', everyOther);
    let writes = 0;
    rig.target.meddle = (verb) => {
      if (hangs && verb === 'flush') return new Promise(() => {});
      return verb === 'write' && ++writes === 3 ? new Promise(() => {}) : undefined;
    };
    const job = rig.mirror({ bitmap: 'b0', bufSize: GRANULE });
    await expect.poll(() => writes).toBe(3);
    rig.target.lost = lost;
    job.cancel({ force: true });
    await job.ended;
    expect(bitmap.count).toBe(left * GRANULE);
  });

  it('holds what reaches the target after its last flush', async () => {
    const rig = new MirrorRig({ size: 16 * GRANULE });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0', copyMode: 'write-blocking' });
    await rig.ready();
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    let arrive = () => {};
    const late = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const fails = failing('write');
    rig.target.meddle = (verb, { offset }) =>
      verb === 'write' && offset === 0 ? late : fails(verb);
    const waiting = rig.client.node.write(0, pattern(512, 1));
    await rig.client.node.write(4 * GRANULE, pattern(512, 2));
    await rig.event('JOB_STATUS_CHANGE', (event) => event.data.status === 'aborting');
    arrive();
    await waiting;
    await job.ended;
    expect([bitmap.isDirty(0), bitmap.isDirty(4 * GRANULE)]).toEqual([true, true]);
  });

  it('holds it after a forced cancel, too', async () => {
    const rig = new MirrorRig({ size: 64 * GRANULE });
    await rig.source.write(0, pattern(64 * GRANULE, 1));
    const bitmap = rig.bitmap('b0', [[0, 64 * GRANULE]]);
    const job = rig.mirror({ bitmap: 'b0', speed: 100 * GRANULE });
    await new Promise((resolve) => setTimeout(resolve, 50));
    job.cancel({ force: true });
    await job.ended;
    const [source, target] = [await contents(rig.source.disk), await contents(rig.target.disk)];
    for (let at = 0; at < source.length; at += GRANULE) {
      const equal = source.subarray(at, at + GRANULE).equals(target.subarray(at, at + GRANULE));
      expect(equal || bitmap.isDirty(at)).toBe(true);
    }
    expect(bitmap.count).toBeGreaterThan(0);
  });
});

describe.each(['background', 'write-blocking'] as const)('a client write, %s', (copyMode) => {
  it('that fails on the source is told to the client and marked', async () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0', copyMode });
    await rig.ready();
    job.pause();
    await rig.event('JOB_STATUS_CHANGE', (event) => event.data.status === 'standby');
    rig.source.meddle = failing('write', { times: 1 });
    await expect((async () => rig.client.node.write(0, pattern(512, 1)))()).rejects.toThrow();
    expect(bitmap.isDirty(0)).toBe(true);
    expect(job.query()['actively-synced']).toBe(false);
    job.resume();
    await expect.poll(() => bitmap.count).toBe(0);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('write-blocking, with the target in trouble', () => {
  it('answers the client, marks the range and follows the policy', async () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0', copyMode: 'write-blocking', onTargetError: 'stop' });
    await rig.ready();
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    rig.target.meddle = failing('write');
    await rig.client.node.write(0, pattern(512, 1));
    expect([bitmap.isDirty(0), job.query()['actively-synced'], job.ioStatus]).toEqual([
      true,
      false,
      'failed',
    ]);
    await rig.event('JOB_STATUS_CHANGE', (event) => event.data.status === 'standby');
    // Stopped by an error: clients do not wait for a target that is known to be broken.
    rig.target.log.length = 0;
    await rig.client.node.write(GRANULE, pattern(512, 1));
    expect(rig.target.log).toEqual([]);
    rig.target.meddle = () => {};
    job.resume();
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('passes a flush to the target, and copies again what a failed one may have lost', async () => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror({ copyMode: 'write-blocking', onTargetError: 'ignore' });
    await rig.ready();
    await rig.client.node.write(0, pattern(512, 1));
    rig.target.log.length = 0;
    await rig.client.node.flush();
    expect(rig.target.log).toEqual(['flush 0+0']);
    await rig.client.node.write(0, pattern(512, 2));
    rig.target.meddle = failing('flush', { times: 1 });
    rig.target.log.length = 0;
    await rig.client.node.flush();
    await expect.poll(() => rig.target.log).toContain(`write 0+${GRANULE}`);
    await rig.jobs.cancelAll();
  });

  it('lets a forced cancel through while the target hangs, and the client goes on', async () => {
    const rig = new MirrorRig({ size: MiB });
    const bitmap = rig.bitmap('b0');
    const job = rig.mirror({ bitmap: 'b0', copyMode: 'write-blocking' });
    await rig.ready();
    rig.target.meddle = () => new Promise(() => {});
    const write = rig.client.node.write(0, pattern(512, 1));
    job.cancel({ force: true });
    // It is READY still for a moment; but who asks is not told that clients will move.
    expect(() => job.complete()).toThrow("The active block job 'mirror0' cannot be completed");
    await write;
    await job.ended;
    expect(rig.target.cancelled).toBe(1);
    expect(rig.story.slice(-4)).toEqual([
      'S:aborting',
      'BLOCK_JOB_CANCELLED',
      'S:concluded',
      'S:null',
    ]);
    expect([bitmap.isDirty(0), bitmap.busy, bitmap.enabled]).toEqual([true, false, true]);
  });
});

describe('a forced cancel while copies read the source', () => {
  it('sends nothing more to the target, which may hang', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    const reads: (() => void)[] = [];
    rig.source.meddle = (verb) =>
      verb === 'read' ? new Promise<void>((resolve) => reads.push(resolve)) : undefined;
    const job = rig.mirror();
    await expect.poll(() => reads.length).toBeGreaterThan(0);
    rig.target.log.length = 0;
    rig.target.meddle = () => new Promise(() => {});
    job.cancel({ force: true });
    for (const go of reads) go();
    await job.ended;
    expect(rig.target.log).toEqual([]);
  });
});

describe('a target that was lost and found again', () => {
  it('gets everything once more that it had answered and not flushed', async () => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror();
    await rig.ready();
    await rig.client.node.write(0, pattern(GRANULE, 1));
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.target.disk.writeZeroes(0, GRANULE);
    rig.target.reconnect();
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('an ignored error that stays', () => {
  it.each(['flush', 'status'] as const)('lets the event loop turn: %s', async (verb) => {
    const rig = new MirrorRig({ size: MiB });
    // With nothing to copy there is nothing but the flush to try again.
    if (verb === 'status') await rig.source.write(0, pattern(MiB, 1));
    const node = verb === 'flush' ? rig.target : rig.source;
    node.meddle = failing(verb);
    const job = rig.mirror({ onSourceError: 'ignore', onTargetError: 'ignore', sync: 'full' });
    // A loop of microtasks would never come back from this.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(rig.story.filter((event) => event === 'BLOCK_JOB_ERROR').length).toBeLessThan(20);
    job.cancel({ force: true });
    await job.ended;
  });
});

describe('a discard that fails on the source, write-blocking', () => {
  it('is the client’s error and leaves the job at work', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    rig.source.meddle = (verb) =>
      verb === 'discard'
        ? Promise.reject(Object.assign(new Error('no'), { code: 'EIO' }))
        : undefined;
    await expect((async () => rig.client.node.discard(0, 65536))()).rejects.toThrow();
    rig.source.meddle = () => {};
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    expect(job.progressTotal).toBe(job.progressCurrent);
    await rig.jobs.cancelAll();
  });
});

describe('a source that cannot be read where a discard has been, write-blocking', () => {
  it('is not the target’s error', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    const job = rig.mirror({ copyMode: 'write-blocking', onSourceError: 'ignore' });
    await rig.ready();
    // A disk on which a discard changes nothing, so that there is something to read.
    rig.source.disk.discard = () => {};
    rig.source.meddle = (verb) =>
      verb === 'read' ? Promise.reject(Object.assign(new Error('no'), { code: 'EIO' })) : undefined;
    await rig.target.disk.writeZeroes(0, MiB);
    await rig.client.node.discard(0, 65536);
    expect(job.query()['actively-synced']).toBe(false);
    rig.source.meddle = () => {};
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    const sides = rig.events.flatMap(({ name, data }) =>
      name === 'BLOCK_JOB_ERROR' ? [(data as { 'x-side': string })['x-side']] : [],
    );
    expect(sides).not.toContain('target');
    const [on, source] = [Buffer.alloc(65536), Buffer.alloc(65536)];
    await rig.target.disk.read(0, on);
    await rig.source.disk.read(0, source);
    expect(on.equals(source)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('a fast zero, write-blocking', () => {
  it('is not asked of the target', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    let flags = -1;
    const zero = rig.target.disk.writeZeroes.bind(rig.target.disk);
    rig.target.disk.writeZeroes = (offset, length, given) => {
      flags = given ?? 0;
      return zero(offset, length, given);
    };
    await rig.client.node.writeZeroes(0, 4096, ZERO_NO_FALLBACK);
    expect(flags & ZERO_NO_FALLBACK).toBe(0);
    expect(job.status).toBe('ready');
    await rig.jobs.cancelAll();
  });
});

describe('a target that crashes while the source half of a write runs', () => {
  it('gets the write once more', async () => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    let open = () => {};
    const slow = new Promise<void>((resolve) => {
      open = resolve;
    });
    rig.source.meddle = (verb) => (verb === 'write' ? slow : undefined);
    const write = rig.client.node.write(0, pattern(65536, 1));
    await expect.poll(() => rig.target.log.at(-1)).toBe('write 0+65536');
    await rig.target.disk.writeZeroes(0, 65536);
    rig.target.reconnect();
    open();
    await write;
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('a client’s flush that fails on the target while the job is pending', () => {
  it('fails the job instead of the pivot', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking', autoFinalize: false });
    await rig.ready();
    await rig.client.node.write(0, pattern(4096, 1));
    job.cancel({ force: false });
    await rig.event('BLOCK_JOB_PENDING');
    rig.target.meddle = failing('flush');
    await rig.client.node.flush();
    job.finalize();
    await job.ended;
    expect((await rig.event('BLOCK_JOB_COMPLETED')).data.error).toBe('Input/output error');
    expect(rig.client.node).toBe(rig.source);
  });
});

describe('a client’s flush that is still at the target when the job ends', () => {
  it('is waited for, and its failure is the job’s', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    await rig.client.node.write(0, pattern(4096, 1));
    let fail = () => {};
    const first = new Promise<void>((_resolve, reject) => {
      fail = () => reject(Object.assign(new Error('lost'), { code: 'EIO' }));
    });
    let flushes = 0;
    rig.target.meddle = (verb) => (verb === 'flush' && flushes++ === 0 ? first : undefined);
    const flush = rig.client.node.flush();
    await expect.poll(() => flushes).toBe(1);
    job.cancel({ force: false });
    await new Promise((resolve) => setTimeout(resolve, 30));
    fail();
    await Promise.all([flush, job.ended]);
    const end = await rig.event('BLOCK_JOB_COMPLETED');
    expect(end.data.error).toBe('Input/output error');
  });
});
