import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ThrottleGroup } from '../../src/block/throttle-group.ts';
import { FakeClock } from '../support/fake-clock.ts';

const anyRequest = fc.record({
  member: fc.nat(2),
  direction: fc.constantFrom('read' as const, 'write' as const),
  bytes: fc.integer({ min: 1, max: 4000 }),
  pauseMs: fc.nat(150),
});
const anyLimits = fc.record({
  average: fc.integer({ min: 1000, max: 20_000 }),
  factor: fc.integer({ min: 1, max: 5 }),
  seconds: fc.integer({ min: 1, max: 4 }),
  burst: fc.boolean(),
});
const LONGEST = 4000;

it('a group admits everybody, in order, and at most rate x time + burst', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyLimits,
      fc.array(anyRequest, { minLength: 1, maxLength: 40 }),
      async ({ average, factor, seconds, burst }, requests) => {
        const clock = new FakeClock();
        const rate = average * factor;
        const limits = {
          'bps-total': average,
          ...(burst && { 'bps-total-max': rate, 'bps-total-max-length': seconds }),
        };
        const group = new ThrottleGroup('tg', limits, clock);
        const members = [group.join(), group.join(), group.join()];
        const begun = clock.now();
        const admitted: { index: number; at: number; bytes: number }[] = [];
        for (const [index, { member, direction, bytes, pauseMs }] of requests.entries()) {
          const note = () => admitted.push({ index, at: clock.now(), bytes });
          const turn = members[member]!.admit(direction, bytes);
          if (turn === undefined) note();
          else void turn.then(note);
          await pass(clock, pauseMs);
        }
        const total = requests.reduce((sum, { bytes }) => sum + bytes, 0);
        const neededMs = (total / average) * 1000 + requests.length;
        for (let waited = 0; waited < neededMs; waited += 20) await pass(clock, 20);

        expect(admitted).toHaveLength(requests.length);
        const depth = burst ? rate * seconds : average / 10;
        let sum = 0;
        for (const { at, bytes } of admitted) {
          sum += bytes;
          const allowed = (average * (at - begun)) / 1000 + depth + LONGEST;
          expect(sum).toBeLessThanOrEqual(allowed + 1e-6);
        }
        for (const member of [0, 1, 2]) {
          for (const direction of ['read', 'write']) {
            const mine = admitted
              .map(({ index }) => index)
              .filter(
                (i) => requests[i]!.member === member && requests[i]!.direction === direction,
              );
            expect(mine).toEqual([...mine].sort((a, b) => a - b));
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

/** Small steps, so that what was admitted is noted at its own time. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 10) {
    clock.advance(Math.min(10, left));
    await Promise.resolve();
    await Promise.resolve();
  }
}
