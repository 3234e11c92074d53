import { beforeEach, describe, expect, it } from 'vitest';
import type { MirrorJob } from '../../../src/job/mirror-job.ts';
import { MiB, UNIT_BUFFERS_BYTES_MAX } from '../../../src/util/limits.ts';
import { areEqual, MirrorRig, pattern } from '../../support/mirror-rig.ts';

/** Small client writes that go to the target in large units: how much is held for them. */
const UNIT = 2 * MiB;
const WRITES = 64;

let rig: MirrorRig;
let job: MirrorJob;
/** Bytes that the target has been sent and does not answer. */
let held: { bytes: number; answer(error?: Error): void }[];

const heldBytes = () => held.reduce((sum, { bytes }) => sum + bytes, 0);

beforeEach(async () => {
  rig = new MirrorRig({ size: WRITES * UNIT });
  job = rig.mirror({ copyMode: 'write-blocking', targetClusterSize: UNIT });
  await rig.ready();
  // The source is no hole, so it is read.
  const data = pattern(UNIT, 1);
  for (let at = 0; at < rig.source.size; at += UNIT) await rig.client.node.write(at, data);
  held = [];
  rig.target.meddle = (verb, { length }) => {
    if (verb !== 'write') return undefined;
    return new Promise<void>((resolve, reject) => {
      held.push({ bytes: length, answer: (error) => (error ? reject(error) : resolve()) });
    });
  };
});

function writeToEveryUnit(): Promise<unknown> {
  const starts = Array.from({ length: WRITES }, (_, unit) => unit * UNIT + 512);
  return Promise.all(starts.map((at) => rig.client.node.write(at, pattern(512, 2))));
}

describe('small client writes in large units', () => {
  it('wait when the target does not answer, with bounded memory, and then go on', async () => {
    const written = writeToEveryUnit();
    await expect.poll(heldBytes).toBe(UNIT_BUFFERS_BYTES_MAX);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heldBytes()).toBe(UNIT_BUFFERS_BYTES_MAX);
    rig.target.meddle = () => {};
    for (const request of held) request.answer();
    await written;
    job.cancel({ force: false });
    await job.ended;
    expect(await areEqual(rig.source, rig.target)).toBe(true);
  });

  it('are answered when the mirror is cancelled by force', async () => {
    const written = writeToEveryUnit();
    await expect.poll(heldBytes).toBe(UNIT_BUFFERS_BYTES_MAX);
    const begun = held.length;
    job.cancel({ force: true });
    for (const request of held) request.answer(new Error('cancelled'));
    await written;
    await job.ended;
    expect(held).toHaveLength(begun);
  });
});
