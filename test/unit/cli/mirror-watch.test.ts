import { expect, it } from 'vitest';
import { type BlockJob, newsOf } from '../../../src/cli/mirror-watch.ts';

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
