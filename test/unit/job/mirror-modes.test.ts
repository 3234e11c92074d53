import { describe, expect, it } from 'vitest';
import { MemoryNode } from '../../../src/block/memory-node.ts';
import { ZERO_MAY_UNMAP, ZERO_NO_FALLBACK } from '../../../src/block/node.ts';
import { areEqual, contents, MirrorRig, pattern } from '../../support/mirror-rig.ts';
import { ShakyNode } from '../../support/shaky-node.ts';

const MiB = 1 << 20;

describe.each(['background', 'write-blocking'] as const)('a %s mirror', (copyMode) => {
  it('copies the source, becomes READY with offset = len, and follows writes', async () => {
    const rig = new MirrorRig({ size: 4 * MiB });
    await rig.source.write(100, pattern(70_000, 1));
    const job = rig.mirror({ copyMode });
    const ready = await rig.ready();
    expect(ready.data.offset).toBe(ready.data.len);
    expect(await areEqual(rig.source, rig.target)).toBe(true);

    await rig.client.node.write(MiB + 5, pattern(5000, 2));
    await rig.client.node.writeZeroes(50, 1000);
    await rig.client.node.discard(200_000, 300_000);
    job.cancel({ force: false });
    await job.ended;
    expect(rig.story.slice(-5)).toEqual([
      'S:waiting',
      'S:pending',
      'BLOCK_JOB_COMPLETED',
      'S:concluded',
      'S:null',
    ]);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    expect(rig.client.node).toBe(rig.source);
  });

  it('has nothing to copy of a discard that the source does not take', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    const features = { ...rig.source.features, discard: false };
    Object.defineProperty(rig.source, 'features', { get: () => features });
    const bitmap = rig.bitmap('b');
    const job = rig.mirror({ copyMode });
    await rig.ready();
    const asked = rig.target.log.length;
    await rig.client.node.discard(0, MiB);
    expect(job.query()['x-dirty-bytes']).toBe(0);
    expect([rig.target.log.length, bitmap.isClean]).toEqual([asked, true]);
    await rig.jobs.cancelAll();
  });

  it('of an empty disk is synced, and stays so whatever is written', async () => {
    const rig = new MirrorRig({ size: 0 });
    const job = rig.mirror({ copyMode });
    await rig.ready();
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    await rig.client.node.write(0, Buffer.alloc(0));
    expect(job.query()['actively-synced']).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('has nothing to copy of a fast zero that was refused', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    const job = rig.mirror({ copyMode, onTargetError: 'ignore' });
    await rig.ready();
    rig.source.meddle = (verb) => {
      if (verb === 'zero') throw Object.assign(new Error('not fast'), { code: 'ENOTSUP' });
    };
    const zero = async (length: number) =>
      expect(async () => rig.client.node.writeZeroes(0, length, ZERO_NO_FALLBACK)).rejects.toThrow(
        'not fast',
      );
    const isSynced = copyMode === 'write-blocking';
    await expect.poll(() => job.query()['actively-synced']).toBe(isSynced);
    await zero(MiB);
    expect(job.query()).toMatchObject({ 'actively-synced': isSynced, 'x-dirty-bytes': 0 });
    // What was dirty stays so.
    rig.target.meddle = () => {
      throw Object.assign(new Error('no'), { code: 'EIO' });
    };
    await rig.client.node.write(4096, pattern(4096, 2));
    await zero(16_384);
    rig.target.meddle = () => {};
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('tells its whole life in order', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode, autoFinalize: false, autoDismiss: false });
    expect(rig.story).toEqual(['S:created', 'S:running']);
    await rig.ready();
    job.complete();
    await rig.event('BLOCK_JOB_PENDING');
    job.finalize();
    await job.ended;
    job.dismiss();
    expect(rig.story).toEqual([
      'S:created',
      'S:running',
      'S:ready',
      'BLOCK_JOB_READY',
      'S:waiting',
      'S:pending',
      'BLOCK_JOB_PENDING',
      'BLOCK_JOB_COMPLETED',
      'S:concluded',
      'S:null',
    ]);
  });

  it('moves clients to the target on completion, with a write held back meanwhile', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode, autoFinalize: false });
    await rig.ready();
    job.complete();
    await rig.event('BLOCK_JOB_PENDING');
    let answered = false;
    const held = Promise.resolve(rig.client.node.write(0, pattern(4096, 3))).then(() => {
      answered = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toBe(false);
    job.finalize();
    await job.ended;
    await held;
    expect(rig.client.node).toBe(rig.target);
    const [source, target] = [await contents(rig.source.disk), await contents(rig.target.disk)];
    expect(target.subarray(0, 4096)).toEqual(pattern(4096, 3));
    expect(source.subarray(0, 4096)).toEqual(Buffer.alloc(4096));
  });

  it('pauses, goes on, and ends equal', async () => {
    const rig = new MirrorRig({ size: 4 * MiB });
    await rig.source.write(0, pattern(4 * MiB, 1));
    const job = rig.mirror({ copyMode, speed: MiB });
    job.pause();
    await rig.event('JOB_STATUS_CHANGE', (event) => event.data.status === 'paused');
    const { progressCurrent } = job;
    await rig.client.node.write(3 * MiB, pattern(MiB, 9));
    expect(job.progressCurrent - progressCurrent).toBeLessThanOrEqual(MiB);
    expect(() => job.pause()).toThrow('Job is already paused');
    job.setSpeed(0);
    job.resume();
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    expect(() => job.resume()).toThrow("Can't resume a job that was not paused");
    await rig.jobs.cancelAll();
  });
});

describe('the copy mode', () => {
  it('decides whether actively-synced becomes true', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror();
    await rig.ready();
    expect(job.query()['actively-synced']).toBe(false);
    job.changeCopyMode('write-blocking');
    await rig.client.node.write(0, pattern(4096, 1));
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    await rig.client.node.write(10, pattern(512, 2));
    expect(job.query()['actively-synced']).toBe(true);
    expect((await contents(rig.target.disk)).subarray(10, 522)).toEqual(pattern(512, 2));
    expect(() => job.changeCopyMode('background')).toThrow('is not implemented');
    await rig.jobs.cancelAll();
  });

  it('sends 4 KiB for a 4 KiB write in background mode', async () => {
    const rig = new MirrorRig({ size: 4 * MiB });
    rig.mirror();
    await rig.ready();
    rig.target.log.length = 0;
    await rig.client.node.write(MiB + 8192, pattern(4096, 1));
    await expect.poll(() => rig.target.log).toEqual([`write ${MiB + 8192}+4096`]);
    await rig.jobs.cancelAll();
  });

  it('is no promise of a mirror that is over', async () => {
    const rig = new MirrorRig({ size: MiB });
    const job = rig.mirror({ copyMode: 'write-blocking', autoDismiss: false });
    await rig.ready();
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    job.cancel({ force: false });
    await job.ended;
    expect([job.status, job.query()['actively-synced']]).toEqual(['concluded', false]);
  });
});

describe('a synchronous write into dirty granules', () => {
  it('cleans those that it covers, and leaves those that it touches to the copier', async () => {
    const rig = new MirrorRig({ size: 4 * MiB });
    await rig.source.write(0, pattern(4 * MiB, 1));
    const job = rig.mirror({ copyMode: 'write-blocking', speed: 1 });
    await expect.poll(() => job.progressTotal).toBe(4 * MiB);
    rig.target.log.length = 0;
    await rig.client.node.write(2 * MiB + 100, pattern(3 * 65536, 2));
    // The parts of 4 KiB at both ends are dirty before and after.
    expect(rig.target.log).toEqual([`write ${2 * MiB + 4096}+${3 * 65536 - 4096}`]);
    rig.target.log.length = 0;
    job.setSpeed(0);
    await rig.ready();
    const sent = rig.target.log.flatMap(
      (line) => line.match(/^write (\d+)\+(\d+)$/)?.slice(1) ?? [],
    );
    const covered = [2 * MiB + 4096, 2 * MiB + 3 * 65536] as const;
    for (let n = 0; n < sent.length; n += 2) {
      const start = Number(sent[n]);
      const end = start + Number(sent[n + 1]);
      expect(end <= covered[0] || start >= covered[1], `${start} to ${end}`).toBe(true);
    }
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('a mirror of a sparse source', () => {
  it('copies only data to a target that is zero', async () => {
    const rig = new MirrorRig({ size: 2 ** 40 });
    await rig.source.write(2 ** 39, pattern(65536, 1));
    rig.mirror();
    await rig.ready();
    expect(rig.target.log.filter((line) => line.startsWith('write'))).toEqual([
      `write ${2 ** 39}+65536`,
    ]);
    await rig.jobs.cancelAll();
  });

  it('zeroes what the target has and the source has not', async () => {
    const rig = new MirrorRig({ size: 64 * MiB });
    await rig.target.write(5 * MiB, pattern(3 * MiB, 1));
    await rig.source.write(6 * MiB, pattern(4096, 2));
    rig.mirror();
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  it('does nothing where both are zero, though the target has data elsewhere', async () => {
    const rig = new MirrorRig({ size: 4 * MiB });
    await rig.source.disk.write(MiB, pattern(65_536, 3));
    await rig.target.disk.write(3 * MiB, pattern(65_536, 7));
    const job = rig.mirror({});
    await rig.ready();
    expect(job.progressTotal).toBe(2 * 65_536);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    const written = rig.target.log.filter((entry) => /^(write|zero)/.test(entry));
    expect(written.sort()).toEqual([`write ${MiB}+65536`, `zero ${3 * MiB}+65536`]);
    await rig.jobs.cancelAll();
  });

  it('takes no space on a target that gives none back, when a client trims', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.disk.write(0, pattern(65_536, 1));
    rig.target.space = { discard: 'ignore', detectZeroes: 'off' };
    rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    await rig.client.node.discard(524_288, 65_536);
    await rig.client.node.discard(0, 65_536);
    expect(rig.target.log.filter((entry) => entry.startsWith('zero'))).toEqual(['zero 0+65536']);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });

  // The target may be a diff image, that shows its base where nothing was written.
  it.each(['none', 'top'] as const)('with sync %s zeroes what a client zeroed', async (sync) => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror({ sync });
    await rig.ready();
    await rig.client.node.writeZeroes(65_536, 65_536, ZERO_MAY_UNMAP);
    await expect.poll(() => rig.target.log).toContain('zero 65536+65536');
    await rig.jobs.cancelAll();
  });

  it('is READY at once when the disk is empty', async () => {
    const rig = new MirrorRig({ size: 0 });
    const job = rig.mirror();
    await rig.ready();
    await expect.poll(() => job.query()['actively-synced']).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('a use of the source that comes while it is mirrored', () => {
  it('goes through the filter', async () => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    const late = rig.graph.use(rig.source, { kind: 'export', name: 'late' }, { writable: true });
    await late.node.write(0, pattern(4096, 1));
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
    expect(late.node).toBe(rig.source);
  });
});

describe('several mirrors of one source', () => {
  it('each see every write, and end one by one', async () => {
    const rig = new MirrorRig({ size: MiB });
    const second = new ShakyNode(new MemoryNode('second', { size: MiB }));
    rig.graph.add(second);
    const first = rig.mirror();
    await rig.event('BLOCK_JOB_READY', (event) => event.data.device === 'mirror0');
    const other = rig.mirror({
      id: 'mirror1',
      target: second,
      filterNodeName: 'top1',
      copyMode: 'write-blocking',
    });
    await rig.event('BLOCK_JOB_READY', (event) => event.data.device === 'mirror1');
    await rig.client.node.write(0, pattern(4096, 1));
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    expect(await areEqual(rig.source, second)).toBe(true);
    other.complete();
    await other.ended;
    await rig.client.node.write(8192, pattern(4096, 2));
    await expect.poll(() => areEqual(second, rig.target)).toBe(true);
    first.complete();
    await first.ended;
    expect(rig.client.node).toBe(rig.target);
    expect(rig.graph.nodes().map((node) => node.name)).toEqual(['source', 'target', 'second']);
  });

  it('do not share a target', async () => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror();
    expect(() => rig.mirror({ id: 'mirror1', filterNodeName: 'top1' })).toThrow(
      "Node 'target' is busy: block device is in use by block job: mirror",
    );
    await rig.jobs.cancelAll();
  });
});

describe('disks of different sizes', () => {
  it('fail the job, not the command, and leave the graph as it was', async () => {
    const rig = new MirrorRig({ size: MiB, targetSize: 2 * MiB });
    const job = rig.mirror();
    await job.ended;
    const end = await rig.event('BLOCK_JOB_COMPLETED');
    expect(end.data.error).toBe('Source and target image have different sizes');
    expect(rig.client.node).toBe(rig.source);
    expect(rig.graph.nodes().map((node) => node.name)).toEqual(['source', 'target']);
  });
});

describe('a write that comes while a full mirror looks at its target', () => {
  it('does not make the mirror forget the rest of its granule', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    await rig.target.write(0, pattern(MiB, 2));
    rig.target.meddle = (verb) =>
      verb === 'status' ? new Promise((resolve) => setTimeout(resolve, 30)) : undefined;
    rig.mirror();
    await new Promise((resolve) => setTimeout(resolve, 10));
    await rig.client.node.write(65536, pattern(4096, 3));
    await rig.ready();
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});

describe('writes that never leave one part of a granule alone', () => {
  it('do not keep the mirror from READY', async () => {
    const rig = new MirrorRig({ size: 4 * MiB });
    await rig.source.write(0, pattern(4 * MiB, 1));
    for (const node of [rig.source, rig.target]) {
      node.meddle = () => new Promise((resolve) => setImmediate(resolve));
    }
    let writing = true;
    const writer = async (offset: number) => {
      while (writing) await rig.client.node.write(offset, pattern(512, 2));
    };
    const writers = [writer(65536), writer(65536 + 512), writer(65536 + 1024)];
    rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    writing = false;
    await Promise.all(writers);
    await rig.jobs.cancelAll();
  });
});

describe('completing a mirror while another one sits below its filter', () => {
  it('is refused, since the other one would see no more writes', async () => {
    const rig = new MirrorRig({ size: MiB });
    const second = new ShakyNode(new MemoryNode('second', { size: MiB }));
    rig.graph.add(second);
    const upper = rig.mirror();
    await rig.ready();
    rig.mirror({ id: 'mirror1', target: second, filterNodeName: 'top1' });
    expect(() => upper.complete()).toThrow("filter 'top1' sits below it");
    await rig.jobs.cancelAll();
  });

  it('cannot be got round by starting that one later', async () => {
    const rig = new MirrorRig({ size: MiB });
    const second = new ShakyNode(new MemoryNode('second', { size: MiB }));
    rig.graph.add(second);
    const upper = rig.mirror({ autoFinalize: false });
    await rig.ready();
    upper.complete();
    await rig.event('BLOCK_JOB_PENDING');
    const later = { id: 'mirror1', target: second, filterNodeName: 'top1' };
    expect(() => rig.mirror(later)).toThrow(
      "the mirror with filter 'mirror-top' is being completed",
    );
    expect(rig.graph.find('top1')).toBeUndefined();
    upper.finalize();
    await upper.ended;
    // Now that the clients are elsewhere nobody would be surprised.
    rig.mirror(later);
    await rig.jobs.cancelAll();
  });
});

describe('a synchronous write', () => {
  it('is on its way to the target before this thread writes to the source', async () => {
    const rig = new MirrorRig({ size: MiB });
    rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    const order: string[] = [];
    rig.source.meddle = (verb) => {
      order.push(`source ${verb}`);
    };
    rig.target.meddle = (verb) => {
      order.push(`target ${verb}`);
    };
    await rig.client.node.write(0, pattern(4096, 1));
    await rig.client.node.writeZeroes(8192, 4096);
    // What a discarded range reads as is for the source to say.
    await rig.client.node.discard(0, MiB);
    expect(order.slice(0, 5)).toEqual([
      'target write',
      'source write',
      'target zero',
      'source zero',
      'source discard',
    ]);
  });

  it('that the source may refuse reaches the target after it, or not at all', async () => {
    const rig = new MirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    rig.mirror({ copyMode: 'write-blocking' });
    await rig.ready();
    const zero = async () => rig.client.node.writeZeroes(0, 4096, ZERO_NO_FALLBACK);
    rig.source.meddle = (verb) => {
      if (verb === 'zero') throw Object.assign(new Error('not fast'), { code: 'ENOTSUP' });
    };
    rig.target.log.length = 0;
    await expect(zero()).rejects.toThrow('not fast');
    expect(rig.target.log.filter((line) => line.startsWith('zero'))).toEqual([]);
    await expect.poll(() => areEqual(rig.source, rig.target)).toBe(true);
    // That it has succeeded is all that need be known of the source.
    rig.source.meddle = (verb) => {
      if (verb !== 'zero') throw Object.assign(new Error('do not ask'), { code: 'EIO' });
    };
    rig.target.log.length = 0;
    await zero();
    expect(rig.target.log).toEqual(['zero 0+4096']);
    expect(await areEqual(rig.source, rig.target)).toBe(true);
    await rig.jobs.cancelAll();
  });
});
