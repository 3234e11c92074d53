import { describe, expect, it } from 'vitest';
import type { Arguments } from '../../protocol/qmp/schema.ts';
import type { DirtyBitmap } from '../../src/bitmap/dirty-bitmap.ts';
import { pattern } from '../support/mirror-rig.ts';
import {
  differing,
  failNth,
  GRANULE,
  granulesOf,
  QmpMirrorRig,
} from '../support/qmp-mirror-rig.ts';

const GRANULES = 32;
const SIZE = GRANULES * GRANULE;
const DIRTY = [0, 1, 2, 3, 8, 9, 20, 31];

function flagsOf({ busy, enabled }: Pick<DirtyBitmap, 'busy' | 'enabled'>): string {
  return [busy ? 'busy' : '', enabled ? 'recording' : ''].join(' ').trim();
}

/** The flags each time that one of them changes, whoever changes it. */
function watchFlags(bitmap: DirtyBitmap): string[] {
  const seen: string[] = [];
  const now = { busy: bitmap.busy, enabled: bitmap.enabled };
  for (const flag of ['busy', 'enabled'] as const) {
    Object.defineProperty(bitmap, flag, {
      get: () => now[flag],
      set: (value: boolean) => {
        if (value === now[flag]) return;
        now[flag] = value;
        seen.push(flagsOf(now));
      },
    });
  }
  return seen;
}

/**
 * A client that writes in every instant: some microtasks apart, in turn after turn of the event
 * loop, and whenever an event is told.
 */
class RestlessClient {
  readonly #rig: QmpMirrorRig;
  readonly #unanswered = new Set<Promise<void>>();
  #writes = 0;
  #stopped = false;
  readonly #loop: Promise<void>;

  constructor(rig: QmpMirrorRig) {
    this.#rig = rig;
    const stop = rig.monitor.dispatcher.onEvent(() => this.#write());
    this.#loop = this.#run().finally(stop);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    await Promise.all(this.#unanswered);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      for (let microtasks = this.#writes % 7; microtasks > 0; microtasks--) await null;
      if (this.#unanswered.size < 64) this.#write();
      if (this.#writes % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #write(): void {
    const seed = ++this.#writes;
    const offset = (seed % GRANULES) * GRANULE + 512;
    const done = this.#rig.client.node.write(offset, pattern(512, seed));
    if (done === undefined) return;
    this.#unanswered.add(done);
    void done.finally(() => this.#unanswered.delete(done));
  }
}

interface End {
  readonly how: string;
  readonly given?: Partial<Arguments<'blockdev-mirror'>>;
  readonly targetSize?: number;
  readonly prepare?: (rig: QmpMirrorRig) => void;
  readonly act?: (rig: QmpMirrorRig) => Promise<unknown>;
  /** The last event but those of the status. */
  readonly event: 'BLOCK_JOB_COMPLETED' | 'BLOCK_JOB_CANCELLED';
  readonly error?: string;
  /** The job never came to the bitmap. */
  readonly untouched?: boolean;
  /** Clients are on the target now. */
  readonly pivots?: boolean;
}

const ready = (rig: QmpMirrorRig) => rig.told('BLOCK_JOB_READY');
const pending = (rig: QmpMirrorRig) => rig.told('BLOCK_JOB_PENDING');
const cancel = (rig: QmpMirrorRig, force: boolean) =>
  rig.call('block-job-cancel', { device: 'm0', force });
const failing = (side: 'source' | 'target', verb: 'read' | 'write') => (rig: QmpMirrorRig) => {
  // A client of the source only writes: reads of the source and writes of the target are the job's.
  rig[side].meddle = (actual) => {
    if (actual === verb) throw Object.assign(new Error('injected'), { code: 'ENOSPC' });
  };
};

const STOPPED = async (rig: QmpMirrorRig) => {
  await rig.told('BLOCK_JOB_ERROR', ({ action }) => action === 'stop');
  await rig.status('paused');
  await cancel(rig, true);
};
const IGNORED = async (rig: QmpMirrorRig) => {
  await rig.told('BLOCK_JOB_ERROR', ({ action }) => action === 'ignore');
  await cancel(rig, false);
};
const FULL_DISK = 'No space left on device';
const FULL = ['busy recording', 'busy', 'busy recording', 'recording'];

const ENDS: readonly End[] = [
  {
    how: 'succeeds',
    act: async (rig) => {
      await ready(rig);
      await cancel(rig, false);
    },
    event: 'BLOCK_JOB_COMPLETED',
  },
  {
    how: 'succeeds and pivots',
    act: async (rig) => {
      await ready(rig);
      await rig.call('job-complete', { id: 'm0' });
    },
    event: 'BLOCK_JOB_COMPLETED',
    pivots: true,
  },
  {
    how: 'is cancelled in the turn in which it begins',
    act: (rig) => cancel(rig, false),
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is cancelled before READY',
    given: { speed: 1 },
    act: async (rig) => {
      await expect.poll(() => rig.target.log.some((line) => line.startsWith('write'))).toBe(true);
      await cancel(rig, false);
    },
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is cancelled while it is paused',
    given: { speed: 1 },
    act: async (rig) => {
      await rig.call('job-pause', { id: 'm0' });
      await rig.status('paused');
      await rig.call('job-cancel', { id: 'm0' });
    },
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is cancelled by force after READY',
    act: async (rig) => {
      await ready(rig);
      await cancel(rig, true);
    },
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is cancelled in PENDING',
    given: { 'auto-finalize': false },
    act: async (rig) => {
      await ready(rig);
      await rig.call('job-complete', { id: 'm0' });
      await pending(rig);
      expect(await rig.shown('b')).toMatchObject({ busy: true, recording: false });
      await cancel(rig, false);
    },
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is finalised',
    given: { 'auto-finalize': false },
    act: async (rig) => {
      await ready(rig);
      await cancel(rig, false);
      await pending(rig);
      expect(await rig.shown('b')).toMatchObject({ busy: true, recording: false });
      await rig.call('job-finalize', { id: 'm0' });
    },
    event: 'BLOCK_JOB_COMPLETED',
  },
  {
    how: 'finds disks of different sizes',
    targetSize: 2 * SIZE,
    event: 'BLOCK_JOB_COMPLETED',
    error: 'Source and target image have different sizes',
    untouched: true,
  },
  {
    how: 'reports a read error',
    given: { 'on-source-error': 'report' },
    prepare: (rig) => failNth(rig.source, 'read', 2),
    event: 'BLOCK_JOB_COMPLETED',
    error: 'Input/output error',
  },
  {
    how: 'reports a write error',
    given: { 'on-target-error': 'report' },
    prepare: (rig) => failNth(rig.target, 'write', 2),
    event: 'BLOCK_JOB_COMPLETED',
    error: 'Input/output error',
  },
  {
    how: 'reports a full disk',
    prepare: failing('target', 'write'),
    event: 'BLOCK_JOB_COMPLETED',
    error: FULL_DISK,
  },
  ...(['stop', 'enospc', 'auto'] as const).flatMap((policy): End[] => [
    {
      how: `is cancelled when a write error has stopped it (${policy})`,
      given: { 'on-target-error': policy },
      prepare: failing('target', 'write'),
      act: STOPPED,
      event: 'BLOCK_JOB_CANCELLED',
    },
    {
      how: `is cancelled when a read error has stopped it (${policy})`,
      given: { 'on-source-error': policy },
      prepare: failing('source', 'read'),
      act: STOPPED,
      event: 'BLOCK_JOB_CANCELLED',
    },
  ]),
  {
    how: 'is cancelled while it ignores write errors',
    given: { 'on-target-error': 'ignore' },
    prepare: failing('target', 'write'),
    act: IGNORED,
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is cancelled while it ignores read errors',
    given: { 'on-source-error': 'ignore' },
    prepare: failing('source', 'read'),
    act: IGNORED,
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is ended as quit does, before READY',
    given: { speed: 1 },
    act: (rig) => rig.monitor.storage.jobs.cancelAll(),
    event: 'BLOCK_JOB_CANCELLED',
  },
  {
    how: 'is ended as quit does, after READY',
    act: async (rig) => {
      await ready(rig);
      await rig.monitor.storage.jobs.cancelAll();
    },
    event: 'BLOCK_JOB_CANCELLED',
  },
];

describe.each(['background', 'write-blocking'] as const)('%s: a mirror that', (copyMode) => {
  it.each(ENDS)('$how gives the bitmap back, right and without a gap', async (end) => {
    const rig = new QmpMirrorRig({ size: SIZE, targetSize: end.targetSize ?? SIZE });
    for (const granule of DIRTY) {
      await rig.source.write(granule * GRANULE, pattern(GRANULE, granule));
    }
    const bitmap = await rig.addBitmap('b', ...DIRTY);
    const seen = watchFlags(bitmap);
    const atEvents = new Map<string, string>();
    rig.monitor.dispatcher.onEvent(({ event }) => atEvents.set(event, flagsOf(bitmap)));
    end.prepare?.(rig);
    const client = new RestlessClient(rig);
    const started = rig.mirror({ bitmap: 'b', 'copy-mode': copyMode, ...end.given });
    expect(flagsOf(bitmap)).toBe('busy recording');
    await Promise.all([started, end.act?.(rig)]);
    const { data } = await rig.told(end.event);
    expect((data as { error?: string }).error).toBe(end.error);
    await rig.status('null');
    await client.stop();

    expect(seen).toEqual(end.untouched ? ['busy recording', 'recording'] : FULL);
    // Whoever hears of the end can start the next job with the same bitmap.
    expect(atEvents.get(end.event)).toBe('recording');
    expect(rig.source.findBitmap('b')).toBe(bitmap);
    if (end.pivots) {
      expect(rig.client.node).toBe(rig.target);
      return;
    }
    expect(rig.client.node).toBe(rig.source);
    if (end.untouched) return;
    const dirty = new Set(granulesOf(bitmap));
    const lost = (await differing(rig.source.disk, rig.target.disk)).filter(
      (granule) => !dirty.has(granule),
    );
    expect(lost).toEqual([]);

    // What is left to copy is all that is left to copy.
    for (const node of [rig.source, rig.target]) node.meddle = () => {};
    const from = rig.monitor.events.length;
    await rig.mirror({ bitmap: 'b' });
    await rig.told('BLOCK_JOB_READY', () => true, from);
    expect(await differing(rig.source.disk, rig.target.disk)).toEqual([]);
  });
});
