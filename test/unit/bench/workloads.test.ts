import { describe, expect, it } from 'vitest';
import { Images } from '../../bench/images.ts';
import { LIMIT } from '../../bench/workload.ts';
import { allWorkloads } from '../../bench/workloads.ts';
import { Scope } from '../../support/process.ts';

describe('workloads', () => {
  const contender = (name: string) => ({ name, command: [name] });
  const workloads = allWorkloads({
    images: new Images(new Scope()),
    ours: contender('nbd-mirror'),
    qsd: contender('qemu-storage-daemon'),
    qsds: [contender('qemu-storage-daemon')],
    network: 'unix',
    isRoot: true,
    others: new Map([
      ['nbdkit', '1'],
      ['nbdcopy', '1'],
    ]),
    seconds: 1,
  });
  const names = workloads.map(({ name }) => name);
  const overTcp = workloads.filter(({ name }) => name.endsWith(', over TCP'));

  it('have names of their own', () => {
    expect(new Set(names).size).toBe(names.length);
  });

  it('over TCP are some of those over Unix sockets, but for limits that know no TCP', () => {
    expect(overTcp).toHaveLength(8);
    for (const { name, peers } of overTcp) {
      const unix = workloads.find((other) => `${other.name}, over TCP` === name)!;
      const expected = unix.peers
        .map((peer) => peer.name)
        .filter((peer) => !peer.startsWith(LIMIT) || peer === `${LIMIT}nbdkit null`);
      expect(peers.map((peer) => peer.name)).toEqual(expected);
    }
  });
});
