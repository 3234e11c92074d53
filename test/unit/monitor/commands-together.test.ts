import { afterEach, beforeEach, expect, it } from 'vitest';
import { KiB } from '../../../src/util/limits.ts';
import { type MonitorRig, makeMonitorRig } from '../../support/monitor-rig.ts';

/**
 * Commands that come in one packet run within one turn of the event loop, and so does the end of a
 * job that one of them has caused.
 */
let rig: MonitorRig;
const run = (command: string, given: object) => rig.dispatcher.execute(command, given);
const told = (event: string) =>
  expect.poll(() => rig.events.map((one) => one.event)).toContain(event);

beforeEach(async () => {
  rig = makeMonitorRig();
  for (const name of ['a', 'b']) {
    await run('blockdev-add', { driver: 'x-memory', 'node-name': name, size: 256 * KiB });
  }
  await run('blockdev-mirror', {
    'job-id': 'm0',
    device: 'a',
    target: 'b',
    sync: 'full',
    'auto-finalize': false,
    'auto-dismiss': false,
  });
  await told('BLOCK_JOB_READY');
  await run('job-complete', { id: 'm0' });
  await told('BLOCK_JOB_PENDING');
  // As long as nobody would wait for what it has just done.
  await new Promise((resolve) => setTimeout(resolve, 20));
});
afterEach(() => rig.close());

/** What came back for commands of the job that are sent together. */
async function together(...commands: string[]): Promise<unknown[]> {
  const client = await rig.connect();
  await client.send(
    commands.map((execute) => JSON.stringify({ execute, arguments: { id: 'm0' } })).join(''),
  );
  return client.received.filter((message) => !('event' in message));
}
const refused = (verb: string) => ({
  error: {
    class: 'GenericError',
    desc: `Job 'm0' in state 'concluded' cannot accept command verb '${verb}'`,
  },
});

it('a cancel that comes with job-finalize is too late', async () => {
  expect(await together('job-finalize', 'job-cancel')).toEqual([{ return: {} }, refused('cancel')]);
  await told('BLOCK_JOB_COMPLETED');
  expect(rig.events.map(({ event }) => event)).not.toContain('BLOCK_JOB_CANCELLED');
  expect(await run('query-jobs', {})).toMatchObject([{ status: 'concluded' }]);
});

it('a job-dismiss that comes with job-finalize is none too early', async () => {
  const commands = ['job-finalize', 'job-dismiss', 'job-finalize'];
  expect(await together(...commands)).toEqual([
    { return: {} },
    { return: {} },
    { error: { class: 'GenericError', desc: 'Job not found' } },
  ]);
  expect(await run('query-jobs', {})).toEqual([]);
});
