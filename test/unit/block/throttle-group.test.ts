import { describe, expect, it } from 'vitest';
import { ThrottleGroup, type ThrottleMember } from '../../../src/block/throttle-group.ts';
import type { ThrottleLimits } from '../../../src/block/throttle-limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Asks and notes who was admitted, in order. */
function rig(limits: ThrottleLimits) {
  const clock = new FakeClock();
  const group = new ThrottleGroup('tg', limits, clock);
  const admitted: string[] = [];
  const ask = (member: ThrottleMember, direction: 'read' | 'write', label: string, bytes = 512) => {
    const turn = member.admit(direction, bytes);
    if (turn === undefined) admitted.push(label);
    else
      void turn.then(
        () => admitted.push(label),
        () => admitted.push(`${label} failed`),
      );
  };
  const pass = async (ms: number) => {
    clock.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { group, admitted, ask, pass };
}

describe('a throttle group', () => {
  it('admits what the limit allows, and the rest in its time', async () => {
    const { group, admitted, ask, pass } = rig({ 'iops-total': 10 });
    const member = group.join();
    for (let at = 0; at < 30; at++) ask(member, 'read', `${at}`);
    // One of a tenth of a second, and the one that overflows.
    expect(admitted).toHaveLength(2);
    await pass(1000);
    expect(admitted).toHaveLength(12);
    await pass(1000);
    expect(admitted).toEqual(Array.from({ length: 22 }, (_, at) => `${at}`));
  });

  it('counts bytes, and parts of iops-size', async () => {
    const bytes = rig({ 'bps-write': 1000 });
    const one = bytes.group.join();
    bytes.ask(one, 'write', 'long', 1100);
    bytes.ask(one, 'write', 'next', 1);
    bytes.ask(one, 'read', 'read', 1e9);
    await bytes.pass(0);
    expect(bytes.admitted).toEqual(['long', 'read']);
    await bytes.pass(999);
    expect(bytes.admitted).toEqual(['long', 'read']);
    await bytes.pass(1);
    expect(bytes.admitted).toEqual(['long', 'read', 'next']);

    const sized = rig({ 'iops-total': 10, 'iops-size': 1000 });
    const other = sized.group.join();
    sized.ask(other, 'read', 'eleven', 11_000);
    sized.ask(other, 'read', 'next');
    await sized.pass(999);
    expect(sized.admitted).toEqual(['eleven']);
    await sized.pass(1);
    expect(sized.admitted).toEqual(['eleven', 'next']);
  });

  it('serves its nodes in turn', async () => {
    const { group, admitted, ask, pass } = rig({ 'iops-total': 10 });
    const [busy, modest] = [group.join(), group.join()];
    for (let at = 0; at < 10; at++) ask(busy, 'write', `busy${at}`);
    ask(modest, 'write', 'modest0');
    ask(modest, 'write', 'modest1');
    await pass(400);
    expect(admitted).toEqual(['busy0', 'busy1', 'busy2', 'modest0', 'busy3', 'modest1']);
  });

  it('serves reads and writes in turn where they share a limit', async () => {
    const { group, admitted, ask, pass } = rig({ 'iops-total': 10 });
    const member = group.join();
    for (let at = 0; at < 10; at++) ask(member, 'read', 'r');
    for (let at = 0; at < 3; at++) ask(member, 'write', 'w');
    await pass(600);
    expect(admitted.join('')).toBe('rrwrwrwr');
  });

  it('lets nobody pass who comes when the time is right and others wait', async () => {
    const { group, admitted, ask, pass } = rig({ 'iops-total': 10 });
    const member = group.join();
    ask(member, 'read', 'a');
    ask(member, 'read', 'b');
    ask(member, 'write', 'w');
    ask(member, 'read', 'late');
    await pass(100);
    expect(admitted).toEqual(['a', 'b', 'w']);
  });

  it('lets all of one node go, and charges for it', async () => {
    const { group, admitted, ask, pass } = rig({ 'iops-total': 10 });
    const [hurried, other] = [group.join(), group.join()];
    for (let at = 0; at < 12; at++) ask(hurried, 'write', 'h');
    ask(other, 'write', 'o');
    hurried.release();
    await pass(0);
    expect(admitted.join('')).toBe('hhhhhhhhhhhh');
    await pass(1000);
    expect(admitted.join('')).toBe('hhhhhhhhhhhh');
    await pass(100);
    expect(admitted.join('')).toBe('hhhhhhhhhhhho');
  });

  it('fails all of one node, and charges nothing', async () => {
    const { group, admitted, ask, pass } = rig({ 'iops-total': 10 });
    const [cancelled, other] = [group.join(), group.join()];
    for (let at = 0; at < 5; at++) ask(cancelled, 'write', 'c');
    ask(other, 'read', 'o');
    cancelled.cancel(new Error('enough'));
    await pass(100);
    expect(admitted).toEqual(['c', 'c', 'c failed', 'c failed', 'c failed', 'o']);
  });

  it('is in use while a node is in it', () => {
    const { group } = rig({});
    expect(group.inUse).toBe(false);
    const member = group.join();
    expect(group.inUse).toBe(true);
    member.leave();
    expect(group.inUse).toBe(false);
  });
});
