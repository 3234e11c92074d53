import { beforeEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { pattern } from '../support/mirror-rig.ts';
import { QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/** iotest 219: what may be asked of a job in each state, in both families of commands. */
type State = 'running' | 'paused' | 'ready' | 'standby' | 'pending' | 'concluded';

/** Verb, command, arguments. */
const COMMANDS = [
  ['cancel', 'job-cancel', { id: 'm0' }],
  ['cancel', 'block-job-cancel', { device: 'm0' }],
  ['cancel', 'block-job-cancel', { device: 'm0', force: true }],
  ['pause', 'job-pause', { id: 'm0' }],
  ['pause', 'block-job-pause', { device: 'm0' }],
  ['resume', 'job-resume', { id: 'm0' }],
  ['resume', 'block-job-resume', { device: 'm0' }],
  ['set-speed', 'block-job-set-speed', { device: 'm0', speed: 1 }],
  ['change', 'block-job-change', { id: 'm0', type: 'mirror', 'copy-mode': 'write-blocking' }],
  ['complete', 'job-complete', { id: 'm0' }],
  ['complete', 'block-job-complete', { device: 'm0' }],
  ['finalize', 'job-finalize', { id: 'm0' }],
  ['finalize', 'block-job-finalize', { id: 'm0' }],
  ['dismiss', 'job-dismiss', { id: 'm0' }],
  ['dismiss', 'block-job-dismiss', { id: 'm0' }],
] as const;

/** The verbs that each state refuses; `resume` is refused before the state is looked at. */
const FORBIDDEN: Record<State, readonly string[]> = {
  running: ['complete', 'finalize', 'dismiss'],
  paused: ['complete', 'finalize', 'dismiss'],
  ready: ['finalize', 'dismiss'],
  standby: ['finalize', 'dismiss'],
  pending: ['pause', 'set-speed', 'change', 'complete', 'dismiss'],
  concluded: ['cancel', 'pause', 'set-speed', 'change', 'complete', 'finalize'],
};

describe.each(Object.keys(FORBIDDEN) as State[])('a %s job', (state) => {
  let rig: QmpMirrorRig;
  beforeEach(async () => {
    rig = new QmpMirrorRig({ size: MiB });
    await rig.source.write(0, pattern(MiB, 1));
    const early = state === 'running' || state === 'paused';
    await rig.mirror({
      'auto-finalize': false,
      'auto-dismiss': false,
      ...(early && { speed: 65_536 }),
    });
    if (!early) await rig.told('BLOCK_JOB_READY');
    if (state === 'paused' || state === 'standby') await rig.call('job-pause', { id: 'm0' });
    if (state === 'pending' || state === 'concluded') await rig.call('job-complete', { id: 'm0' });
    await rig.status(state === 'concluded' ? 'pending' : state);
    if (state === 'concluded') await rig.call('job-finalize', { id: 'm0' });
    await rig.status(state);
  });

  it.each(COMMANDS.filter(([verb]) => FORBIDDEN[state].includes(verb)))(
    'refuses to %s: %s',
    async (verb, command, given) => {
      const before = [...rig.story];
      await expect(rig.call(command, given as never)).rejects.toThrow(
        `Job 'm0' in state '${state}' cannot accept command verb '${verb}'`,
      );
      expect(rig.story).toEqual(before);
    },
  );

  const resumes = COMMANDS.filter(([verb]) => verb === 'resume');
  const stands = state === 'paused' || state === 'standby';
  it.each(resumes)('%ss only after a pause: %s', async (_verb, command, given) => {
    const from = rig.story.length;
    if (stands) {
      await rig.call(command, given);
      await rig.status(state === 'paused' ? 'running' : 'ready', from);
      return;
    }
    await expect(rig.call(command, given)).rejects.toThrow(
      "Can't resume a job that was not paused",
    );
    expect(rig.story).toHaveLength(from);
  });
  if (stands) {
    it('is not paused twice, and not cancelled without force', async () => {
      await expect(rig.call('block-job-pause', { device: 'm0' })).rejects.toThrow(
        'Job is already paused',
      );
      await expect(rig.call('block-job-cancel', { device: 'm0' })).rejects.toThrow(
        "The block job for device 'm0' is currently paused",
      );
    });
  }

  const refusedToo = [...FORBIDDEN[state], 'resume', ...(stands ? ['pause'] : [])];
  const allowed = COMMANDS.filter(([verb]) => !refusedToo.includes(verb)).filter(
    ([, command, given]) => !(stands && command === 'block-job-cancel' && !('force' in given)),
  );
  it.each(allowed)('takes %s: %s', async (_verb, command, given) => {
    expect(await rig.call(command, given as never)).toBeUndefined();
  });
});
