import { expect, it } from 'vitest';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { MirrorRig, pattern } from '../../support/mirror-rig.ts';

/** What an operator reads of a mirror in trouble: a line for each thing that has happened. */
const MiB = 1 << 20;

it('is one line for all the copies that fail when it stops', async () => {
  const warnings: string[] = [];
  const log: Log = {
    ...silentLog,
    warn: (_fields, message) => warnings.push(message),
    child: () => log,
  };
  const rig = new MirrorRig({ size: 16 * MiB, log });
  await rig.source.write(0, pattern(16 * MiB, 1));
  const full = () => new Promise<void>((_, fail) => setImmediate(fail, new Error('full')));
  rig.target.meddle = (verb) => (verb === 'write' ? full() : undefined);
  const job = rig.mirror({ onTargetError: 'stop' });
  const paused = () => rig.story.filter((event) => event === 'S:paused').length;
  const failed = () => rig.story.filter((event) => event === 'BLOCK_JOB_ERROR').length;
  await expect.poll(paused).toBe(1);
  expect(failed()).toBeGreaterThan(1);
  expect(warnings).toEqual([
    expect.stringMatching(/full: the mirror is stopped until job-resume$/),
  ]);
  // The next stop is another one.
  job.resume();
  await expect.poll(paused).toBe(2);
  expect(warnings).toHaveLength(2);
  await rig.jobs.cancelAll();
});
