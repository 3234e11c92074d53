import { expect, it } from 'vitest';
import { Gate } from '../../../src/block/gate.ts';
import { BlockError } from '../../../src/util/errors.ts';

const reason = new BlockError('ESHUTDOWN', 'it is late');

/** Waits as a request does: until it is open. */
async function pass(gate: Gate): Promise<void> {
  for (let { closed } = gate; closed !== undefined; closed = gate.closed) await closed;
}

it('is open, whatever is done to it meanwhile', () => {
  const gate = new Gate();
  gate.open();
  gate.turnAway(reason);
  expect(gate.closed).toBeUndefined();
});

it('lets in who waits, in the order in which they came', async () => {
  const gate = new Gate();
  gate.close();
  const came: number[] = [];
  const waiting = [1, 2, 3].map((who) => pass(gate).then(() => came.push(who)));
  gate.open();
  expect(gate.closed).toBeUndefined();
  await Promise.all(waiting);
  expect(came).toEqual([1, 2, 3]);
});

it('turns away who waits, and holds back who comes later', async () => {
  const gate = new Gate();
  gate.close();
  const early = pass(gate);
  gate.turnAway(reason);
  const late = pass(gate);
  await expect(early).rejects.toBe(reason);
  gate.open();
  await late;
});

it('is closed by one at a time', () => {
  const gate = new Gate();
  gate.close();
  expect(() => gate.close()).toThrow('one drain at a time');
});
