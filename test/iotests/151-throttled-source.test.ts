import { expect, it } from 'vitest';
import { MiB } from '../../src/util/limits.ts';
import { pattern } from '../support/mirror-rig.ts';
import { GRANULE, QmpMirrorRig } from '../support/qmp-mirror-rig.ts';

/**
 * iotest 151: clients that keep a slow source busy do not starve the background. The source takes
 * one request at a time, in the order in which they came.
 */
const REQUEST_MS = 10;

it('progresses while clients saturate a throttled source', async () => {
  const rig = new QmpMirrorRig({ size: 4 * MiB });
  await rig.source.write(0, pattern(4 * MiB, 1));
  let queue = Promise.resolve();
  rig.source.meddle = (verb) => {
    if (verb === 'status') return undefined;
    queue = queue.then(() => new Promise((resolve) => setTimeout(resolve, REQUEST_MS)));
    return queue;
  };
  let [running, answered] = [true, 0];
  const client = async (first: number) => {
    for (let at = first; running; at = (at + 4 * 4096) % (GRANULE * 2)) {
      await rig.client.node.write(at, pattern(4096, at));
      answered++;
    }
  };
  const clients = [0, 1, 2, 3].map((n) => client(n * 4096));
  await rig.mirror({ 'copy-mode': 'write-blocking', 'buf-size': GRANULE });
  const offset = async () => (await rig.call('query-block-jobs'))[0]!.offset;
  await expect.poll(() => answered).toBeGreaterThan(8);
  const [before, answeredBefore] = [await offset(), answered];
  // More than what the clients' own writes can bring: the background has its share.
  await expect.poll(offset, { timeout: 8000 }).toBeGreaterThan(before + 8 * GRANULE);
  expect(answered).toBeGreaterThan(answeredBefore);
  running = false;
  await Promise.all(clients);
});
