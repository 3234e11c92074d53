import { expect, it, vi } from 'vitest';
import { type BlockJob, MirrorWatch, newsOf } from '../../../src/cli/mirror-watch.ts';
import type { Daemon } from '../../../src/daemon/daemon.ts';

/** What a log of months has lines about. */
function job(status: BlockJob['status'], offset: number, more: Partial<BlockJob> = {}) {
  return { device: 'm', status, offset, ready: false, 'actively-synced': false, ...more };
}

it('is news: another state, more that is copied, but not what READY ones copy', () => {
  const ready = { ready: true };
  const told = [
    job('running', 1),
    job('running', 2),
    job('paused', 2),
    job('paused', 2),
    job('ready', 2, ready),
    job('ready', 3, ready),
    job('ready', 3, { ...ready, 'actively-synced': true }),
  ].map((info) => newsOf(info as BlockJob));
  const isNews = told.map((text, index) => text !== told[index - 1]);
  expect(isNews).toEqual([true, true, true, false, true, false, true]);
});

it('is called failed, what is concluded with an error', () => {
  expect(newsOf(job('concluded', 2, { error: 'Input/output error' }) as BlockJob)).toBe('failed 2');
});

it('says how long a mirror took, not for how long it has watched', () => {
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  let tell = (_event: { event: string; data: object }) => {};
  const onEvent = (listener: typeof tell) => {
    tell = listener;
    return () => {};
  };
  const watch = new MirrorWatch({
    dispatcher: { onEvent, call: async () => [] },
  } as unknown as Daemon);
  now = 3_600_000;
  tell({ event: 'JOB_STATUS_CHANGE', data: { id: 'm', status: 'created' } });
  now += 5000;
  tell({ event: 'BLOCK_JOB_COMPLETED', data: { device: 'm', offset: 1, len: 1 } });
  watch.stop();
  expect(said.mock.calls).toEqual([['m: transferred 1 B of 1 B (100.00%) in 5s, completed\n']]);
  vi.restoreAllMocks();
});

it('says how much time is left', async () => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const told = { ...job('running', 1), len: 4, 'x-dirty-bytes': 3, 'x-copy-rate': 0 };
  const watch = new MirrorWatch({
    dispatcher: { onEvent: () => () => {}, call: async () => [{ ...told, 'x-seconds-left': 6 }] },
  } as unknown as Daemon);
  await expect.poll(() => String(said.mock.calls[0]?.[0])).toContain(', about 10s left, 3 B dirty');
  watch.stop();
  vi.restoreAllMocks();
});
